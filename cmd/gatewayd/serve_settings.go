package main

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/message-gateway/gateway/node"
	"github.com/message-gateway/gateway/node/console"
	"github.com/message-gateway/gateway/rest"
)

// serveSettings are what serve adds to the configuration of the library.
type serveSettings struct {
	listen          string
	adminListen     string
	pprof           bool
	migrate         bool
	shutdownDelay   time.Duration
	shutdownTimeout time.Duration
	origins         string
	maxConnections  int
	connectionRate  float64
	messageRate     float64
	trustedProxies  string
	consoleFile     string
	retention       time.Duration

	proxies      []netip.Prefix // trustedProxies
	consoleToken string         // what is in consoleFile
}

// Values of --admin-listen that are no address.
const (
	adminOff  = "off"
	adminMain = "main"
)

func (s *serveSettings) addTo(fs *pflag.FlagSet) {
	fs.StringVar(&s.listen, "listen", "127.0.0.1:8080", "`host:port` for devices and service clients; an empty host means every address")
	fs.StringVar(&s.adminListen, "admin-listen", "127.0.0.1:8081",
		"`host:port` for /metrics and details of /readyz; \"main\" serves them on --listen, \"off\" nowhere")
	fs.BoolVar(&s.pprof, "pprof", false, "serve /debug/pprof/ on the admin address")
	fs.BoolVar(&s.migrate, "migrate", false, "create the table push_messages and its indexes where they are missing")
	fs.DurationVar(&s.shutdownDelay, "shutdown-delay", 0, "how long /readyz says no before devices are told to go, so that the load balancer notices first")
	fs.DurationVar(&s.shutdownTimeout, "shutdown-timeout", 20*time.Second, "how long a shutdown may take, after the delay, before the rest is cut off")
	fs.StringVar(&s.origins, "origins", "", "values of the header Origin that may connect, separated by `commas`; empty means any")
	fs.IntVar(&s.maxConnections, "max-connections", 0, "`number` of connections beyond which devices are refused; 0 means no bound")
	fs.Float64Var(&s.connectionRate, "address-connection-rate", 0, "`handshakes` of one address in a second beyond which they are refused; 0 means no bound")
	fs.Float64Var(&s.messageRate, "user-message-rate", 0, "`frames` of one user in a second beyond which they are read more slowly; 0 means no bound")
	fs.StringVar(&s.trustedProxies, "trusted-proxies", "", "`networks` such as 10.0.0.0/8, separated by commas, whose X-Forwarded-For says the address of a device")
	fs.StringVar(&s.consoleFile, "console-token-file", "", "serve the console at /console/ on --listen, for whoever has the token in this `file`; empty means no console")
	fs.DurationVar(&s.retention, "retention", 7*24*time.Hour, "how long finished and timed-out messages are kept; -1ns keeps them for good")
	//nolint:gosec // G101: names of variables, no credentials
	for flag, variable := range map[string]string{
		"listen": "MSG_LISTEN", "admin-listen": "MSG_ADMIN_LISTEN", "pprof": "MSG_PPROF", "migrate": "MSG_MIGRATE",
		"shutdown-delay": "MSG_SHUTDOWN_DELAY", "shutdown-timeout": "MSG_SHUTDOWN_TIMEOUT", "origins": "MSG_ORIGINS",
		"max-connections": "MSG_MAX_CONNECTIONS", "retention": "MSG_RETENTION",
		"address-connection-rate": "MSG_ADDRESS_CONNECTION_RATE", "user-message-rate": "MSG_USER_MESSAGE_RATE",
		"trusted-proxies": "MSG_TRUSTED_PROXIES", "console-token-file": "MSG_CONSOLE_TOKEN_FILE",
	} {
		reads(fs, flag, variable)
	}
}

// options are the settings that concern the node.
func (s *serveSettings) options() node.Options {
	opts := node.Options{MaxConnections: s.maxConnections, Retention: s.retention, REST: &rest.Options{}}
	if s.origins != "" {
		opts.Origins = strings.Split(s.origins, ",")
	}
	opts.RateLimits = node.RateLimits{
		Address:               node.ForwardedFor(s.proxies...),
		ConnectionsPerAddress: node.Rate{PerSecond: s.connectionRate},
		MessagesPerUser:       node.Rate{PerSecond: s.messageRate},
	}
	if s.consoleToken != "" {
		opts.Console = &console.Options{Token: s.consoleToken}
	}
	return opts
}

// ownAdmin reports whether the admin endpoints have a listener of their own.
func (s *serveSettings) ownAdmin() bool {
	return s.adminListen != adminOff && s.adminListen != adminMain
}

// validate adds the mistakes in s to all.
func (s *serveSettings) validate(all *settings) {
	if all.variables["MSG_ACCESS_KEY"] == "" {
		all.add("MSG_ACCESS_KEY", "is required: it is shared with the services that make the tokens")
	}
	isAddress := func(variable, value string) {
		if _, _, err := net.SplitHostPort(value); err != nil {
			all.add(variable, fmt.Sprintf("%q is no host:port", value))
		}
	}
	isAddress("MSG_LISTEN", s.listen)
	if s.ownAdmin() {
		isAddress("MSG_ADMIN_LISTEN", s.adminListen)
	}
	all.check("MSG_PPROF", !s.pprof || s.ownAdmin(), "needs an address of its own in --admin-listen: profiles hold secrets")
	all.check("MSG_SHUTDOWN_DELAY", s.shutdownDelay >= 0, "must not be negative")
	all.check("MSG_SHUTDOWN_TIMEOUT", s.shutdownTimeout >= 0, "must not be negative")
	all.check("MSG_MAX_CONNECTIONS", s.maxConnections >= 0, "must not be negative")
	all.check("MSG_ADDRESS_CONNECTION_RATE", s.connectionRate >= 0, "must not be negative")
	all.check("MSG_USER_MESSAGE_RATE", s.messageRate >= 0, "must not be negative")
	s.readProxies(all)
	s.readConsoleToken(all)
	all.check("MSG_RETENTION", s.retention >= -1, "must not be negative, except -1ns")
}

func (s *serveSettings) readProxies(all *settings) {
	if s.trustedProxies == "" {
		return
	}
	for _, network := range strings.Split(s.trustedProxies, ",") {
		prefix, err := netip.ParsePrefix(strings.TrimSpace(network))
		if err != nil {
			all.add("MSG_TRUSTED_PROXIES", fmt.Sprintf("%q is no network such as 10.0.0.0/8", network))
			continue
		}
		s.proxies = append(s.proxies, prefix)
	}
}

// readConsoleToken says nothing of what is in the file.
func (s *serveSettings) readConsoleToken(all *settings) {
	if s.consoleFile == "" {
		return
	}
	text, err := os.ReadFile(s.consoleFile)
	if err != nil {
		all.add("MSG_CONSOLE_TOKEN_FILE", err.Error())
		return
	}
	s.consoleToken = strings.TrimSpace(string(text))
	all.check("MSG_CONSOLE_TOKEN_FILE", len(s.consoleToken) >= console.MinToken,
		fmt.Sprintf("the token in the file has fewer than %d bytes", console.MinToken))
}
