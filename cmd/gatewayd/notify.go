package main

import (
	"fmt"
	"net"
)

// notify tells systemd about the service, as a unit of Type=notify expects. It
// does nothing where nobody waits for it.
// Protocol: https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
func notify(getenv func(string) string, state string) error {
	path := getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	if path[0] != '/' && path[0] != '@' { // @: package net makes it an abstract socket
		return fmt.Errorf("NOTIFY_SOCKET is %q, which is no socket of this machine", path)
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return err
	}
	_, err = conn.Write([]byte(state))
	if closed := conn.Close(); err == nil {
		err = closed
	}
	return err
}
