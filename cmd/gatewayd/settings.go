package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/node"
	"github.com/message-gateway/gateway/rest"
)

// serveSettings are what serve adds to the configuration of the library.
type serveSettings struct {
	listen          string
	migrate         bool
	shutdownTimeout time.Duration
	origins         string
	maxConnections  int
	retention       time.Duration
}

// options are the settings that concern the node.
func (s serveSettings) options() node.Options {
	opts := node.Options{MaxConnections: s.maxConnections, Retention: s.retention, REST: &rest.Options{}}
	if s.origins != "" {
		opts.Origins = strings.Split(s.origins, ",")
	}
	return opts
}

// serveVariables are the environment variables of serve by flag; a flag that
// is given wins.
var serveVariables = map[string]string{
	"listen":           "MSG_LISTEN",
	"migrate":          "MSG_MIGRATE",
	"shutdown-timeout": "MSG_SHUTDOWN_TIMEOUT",
	"origins":          "MSG_ORIGINS",
	"max-connections":  "MSG_MAX_CONNECTIONS",
	"retention":        "MSG_RETENTION",
}

func serveFlags() (*flag.FlagSet, *serveSettings) {
	s := &serveSettings{}
	fs := flag.NewFlagSet("serve", flag.ContinueOnError)
	fs.StringVar(&s.listen, "listen", "127.0.0.1:8080", "`host:port` to listen on; an empty host means every address")
	fs.BoolVar(&s.migrate, "migrate", false, "create the table push_messages and its indexes where they are missing")
	fs.DurationVar(&s.shutdownTimeout, "shutdown-timeout", 20*time.Second, "how long a shutdown may take before the rest is cut off")
	fs.StringVar(&s.origins, "origins", "", "values of the header Origin that may connect, separated by `commas`; empty means any")
	fs.IntVar(&s.maxConnections, "max-connections", 0, "`number` of connections beyond which devices are refused; 0 means no bound")
	fs.DurationVar(&s.retention, "retention", 7*24*time.Hour, "how long finished and timed-out messages are kept; -1ns keeps them for good")
	return fs, s
}

// loadSettings reads the flags and the environment. Mistakes in the environment
// are reported all at once, in a *gateway.ConfigError.
func loadSettings(p *program, args []string) (serveSettings, gateway.Config, error) {
	fs, s := serveFlags()
	fs.SetOutput(p.stdout)
	fs.Usage = func() { serveUsage(p, fs) }
	if err := parseFlags(fs, args); err != nil {
		return *s, gateway.Config{}, err
	}

	var all gateway.ConfigError
	cfg, err := gateway.LoadConfig()
	var invalid *gateway.ConfigError
	if errors.As(err, &invalid) {
		all.Problems = append(all.Problems, invalid.Problems...)
	} else if err != nil {
		return *s, cfg, err
	}
	problem := func(name, text string) {
		all.Problems = append(all.Problems, gateway.ConfigProblem{Name: name, Problem: text})
	}
	if p.getenv("MSG_ACCESS_KEY") == "" {
		problem("MSG_ACCESS_KEY", "is required: it is shared with the services that make the tokens")
	}

	// names say where each value comes from.
	names := map[string]string{}
	fs.Visit(func(f *flag.Flag) { names[f.Name] = "--" + f.Name })
	fs.VisitAll(func(f *flag.Flag) {
		if names[f.Name] != "" {
			return
		}
		variable := serveVariables[f.Name]
		names[f.Name] = variable
		if value := p.getenv(variable); value != "" && fs.Set(f.Name, value) != nil {
			problem(variable, fmt.Sprintf("%q is no %s", value, flagKind(f)))
		}
	})
	if _, _, err := net.SplitHostPort(s.listen); err != nil {
		problem(names["listen"], fmt.Sprintf("%q is no host:port", s.listen))
	}
	if s.shutdownTimeout < 0 {
		problem(names["shutdown-timeout"], "must not be negative")
	}
	if s.maxConnections < 0 {
		problem(names["max-connections"], "must not be negative")
	}
	if s.retention < -1 {
		problem(names["retention"], "must not be negative, except -1ns")
	}
	if len(all.Problems) > 0 {
		return *s, cfg, &all
	}
	return *s, cfg, nil
}

// parseFlags is Parse without its habit of printing the usage at each mistake.
func parseFlags(fs *flag.FlagSet, args []string) error {
	usage := fs.Usage
	fs.Usage = func() {}
	out := fs.Output()
	fs.SetOutput(io.Discard)
	err := fs.Parse(args)
	fs.SetOutput(out)
	switch {
	case errors.Is(err, flag.ErrHelp):
		usage()
		return err
	case err != nil:
		return &usageError{err}
	case fs.NArg() > 0:
		return &usageError{fmt.Errorf("unexpected argument %q", fs.Arg(0))}
	}
	return nil
}

func flagKind(f *flag.Flag) string {
	getter, _ := f.Value.(flag.Getter)
	switch getter.Get().(type) {
	case bool:
		return "true or false"
	case time.Duration:
		return "duration such as 20s"
	case int:
		return "number"
	default:
		return "value for it"
	}
}
