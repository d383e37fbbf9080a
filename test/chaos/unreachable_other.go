//go:build !linux

package main

type hole struct{}

func dig(string) (*hole, error) {
	return nil, &notRunError{"only of Linux is it known how a full queue of connections behaves"}
}

func (*hole) close() {}
