//go:build !chaosclock

package main

// setClock does nothing without the standard library of scripts/build-chaos.
func setClock(int64) {}
