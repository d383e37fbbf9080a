package main

import (
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/message-gateway/gateway"
)

// wantedFiles are the open files that a node of some size needs: each device
// is one.
const wantedFiles = 65_536

// Bounds of the difference between two clocks. Tokens are accepted five minutes
// before and after their time.
const (
	clockWarning = 2 * time.Second
	clockFailure = 2 * time.Minute
)

// examineConfig looks at the configuration alone. It shows no secret.
func examineConfig(all *settings, cfg gateway.Config) []check {
	f := &findings{area: areaConfig}
	for _, problem := range all.problems {
		f.fail(problem.Name, problem.Problem, "see gatewayd help variables")
	}
	if len(all.problems) == 0 {
		f.ok("variables", "%v", cfg)
	}
	examineKey(f, "MSG_ACCESS_KEY", all.variables["MSG_ACCESS_KEY"], true)
	examineKey(f, "MSG_ACCESS_KEY_SECONDARY", all.variables["MSG_ACCESS_KEY_SECONDARY"], false)
	if primary := all.variables["MSG_ACCESS_KEY"]; primary != "" && primary == all.variables["MSG_ACCESS_KEY_SECONDARY"] {
		f.warn("rotation", "both access keys are the same", "leave MSG_ACCESS_KEY_SECONDARY empty, except while keys are rotated")
	}
	examineEndpoints(f, all.variables["MSG_ENDPOINT"])
	return f.checks
}

const newKey = "make one with: openssl rand -hex 32; set it for all nodes and all services that make tokens"

func examineKey(f *findings, name, key string, required bool) {
	switch {
	case key == "" && required:
		f.fail(name, "is not set; a node needs it to check the tokens of devices", newKey)
	case key == "", len(key) < minKey: // too short is a problem of the configuration already
	case weakness(key) != "":
		f.warn(name, "is set and "+weakness(key)+"; whoever guesses it can connect as anybody", newKey)
	default:
		f.ok(name, "is set, %d bytes", len(key))
	}
}

// minKey is the shortest key that a configuration takes.
const minKey = 32

// weakness says why a key can be guessed, or is empty. It catches examples and
// what was typed by hand, not everything.
func weakness(key string) string {
	lower := strings.ToLower(key)
	for _, word := range []string{"change", "replace", "example", "secret", "password", "gateway", "default", "12345678", "abcdefgh"} {
		if strings.Contains(lower, word) {
			return fmt.Sprintf("holds the word %q, as examples do", word)
		}
	}
	distinct := map[rune]bool{}
	for _, r := range key {
		distinct[r] = true
	}
	if len(distinct) < 10 {
		return fmt.Sprintf("has %d different characters only", len(distinct))
	}
	return ""
}

func examineEndpoints(f *findings, endpoints string) {
	if endpoints == "" {
		f.warn("MSG_ENDPOINT", "is not set", "set it to the public base URL of the nodes, such as https://push.example.com: tokens need it, "+
			"and without it a node takes tokens for whatever host a device asks for")
		return
	}
	for _, endpoint := range strings.Split(endpoints, ",") {
		u, err := url.Parse(endpoint)
		if err != nil || u.Scheme != "http" {
			continue
		}
		host := u.Hostname()
		if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			f.warn("MSG_ENDPOINT", endpoint+" is not encrypted: tokens and messages can be read on the way", "end TLS at a proxy before the nodes, and use https://")
			return
		}
	}
	f.ok("MSG_ENDPOINT", "%s", endpoints)
}

func examineHost() []check {
	f := &findings{area: areaHost}
	judgeFiles(f, openFiles())
	return f.checks
}

// judgeFiles judges the limit of open files; 0 means that it is not known.
func judgeFiles(f *findings, limit uint64) {
	switch {
	case limit == 0:
		f.unknown("open files", "this system does not tell the limit", "make sure that a process may have as many as the devices it should hold")
	case limit < wantedFiles:
		f.warn("open files", fmt.Sprintf("at most %d, and each device is one", limit),
			"raise it: LimitNOFILE=1048576 in the systemd unit, --ulimit nofile=1048576 for a container, or ulimit -n in a shell")
	default:
		f.ok("open files", "up to %d, each device is one", limit)
	}
}

// judgeClock compares the clock of a server with the one of this machine.
func judgeClock(f *findings, server string, ahead, roundTrip time.Duration) {
	off := ahead.Abs()
	text := fmt.Sprintf("%s is %v ahead of this machine (measured to %v)", server, ahead.Round(time.Millisecond), roundTrip.Round(time.Millisecond))
	if ahead < 0 {
		text = fmt.Sprintf("%s is %v behind this machine (measured to %v)", server, off.Round(time.Millisecond), roundTrip.Round(time.Millisecond))
	}
	todo := "synchronise the clocks of both machines (chrony or systemd-timesyncd): tokens are checked by them"
	switch off -= roundTrip; {
	case off >= clockFailure:
		f.fail("clock", text, todo)
	case off >= clockWarning:
		f.warn("clock", text, todo)
	default:
		f.ok("clock", "%s agrees with this machine to %v", server, max(ahead.Abs(), roundTrip).Round(time.Millisecond))
	}
}
