// Readme holds the two programs that the README shows: main.go, a backend with
// a node in one process, and device.mjs, a device with the official client.
package main
