//go:build !linux

package main

import "errors"

var errNoMounts = errors.New("only Linux has mounts of a process's own")

func mountDisk(string, int64) (*disk, error) { return nil, errNoMounts }

func mountFile(string, string) error { return errNoMounts }

func (*disk) unmount() {}

func ownMounts() error { return errNoMounts }
