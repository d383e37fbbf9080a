package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/broker/rabbit"
	"github.com/message-gateway/gateway/internal/bus/redisbus"
	"github.com/message-gateway/gateway/internal/servers"
	"github.com/message-gateway/gateway/internal/store/sqlstore"
)

const doctorLong = `Check everything that a node needs, and say for each thing what to do about it.

It looks at the configuration, this machine, Redis, MySQL or MariaDB, and RabbitMQ:
whether each can be reached with these credentials, its version and the settings
that matter here, the table push_messages, the rights of the accounts, and whether
the clocks agree. Run it where the node runs, with the node's settings.

It changes nothing that lasts: it tries a subscription and a lock of its own on
Redis, a row in a transaction that is rolled back on MySQL, and a queue that it
deletes again on RabbitMQ.

Each check is ok, a warning (it works, and you may regret it), a failure (a node
does not work, or loses what it promises to keep), or unknown (it could not be
checked).

Exit codes: 0 without failures, 1 with one, and with --strict also with a warning.`

const doctorExample = `  # On the machine of a service unit, with its settings.
  gatewayd doctor --env-file /etc/gatewayd/gatewayd.env

  # Before a deployment.
  gatewayd doctor --strict --json | jq '.checks[] | select(.level != "ok")'`

// level is the outcome of a check.
type level string

// The outcomes, from good to bad.
const (
	levelOK      level = "ok"
	levelUnknown level = "unknown"
	levelWarning level = "warning"
	levelFailure level = "failure"
)

// check is one thing that doctor looked at.
type check struct {
	// Area is what it is about, Name the thing itself.
	Area  string `json:"area"`
	Name  string `json:"name"`
	Level level  `json:"level"`
	// Found is what was found, ToDo what to do about it unless it is ok.
	Found string `json:"found"`
	ToDo  string `json:"todo,omitempty"`
}

// Areas of checks.
const (
	areaConfig = "configuration"
	areaHost   = "machine"
	areaRedis  = "redis"
	areaMySQL  = "mysql"
	areaRabbit = "rabbitmq"
)

// findings are the checks of one area.
type findings struct {
	area   string
	checks []check
}

func (f *findings) ok(name, found string, args ...any) {
	f.checks = append(f.checks, check{f.area, name, levelOK, fmt.Sprintf(found, args...), ""})
}

func (f *findings) add(l level, name, found, todo string) {
	f.checks = append(f.checks, check{f.area, name, l, found, todo})
}

func (f *findings) warn(name, found, todo string)    { f.add(levelWarning, name, found, todo) }
func (f *findings) fail(name, found, todo string)    { f.add(levelFailure, name, found, todo) }
func (f *findings) unknown(name, found, todo string) { f.add(levelUnknown, name, found, todo) }

func newDoctor(p *program) *cobra.Command {
	var strict, asJSON bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use: "doctor [flags]", Short: "Check every backend and setting, and say what to do",
		Long: doctorLong, Example: doctorExample, Args: takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if timeout <= 0 {
				return usagef("--timeout must be above 0")
			}
			all, err := p.settings(cmd)
			if err != nil {
				return err
			}
			p.redirect(slog.New(slog.DiscardHandler))
			d := diagnosis{Version: version()}
			d.Checks = examine(cmd.Context(), all, timeout)
			d.summarise()
			if asJSON {
				if err := printJSON(p.stdout, d); err != nil {
					return err
				}
			} else {
				d.print(p, p.stdout)
			}
			if d.Failures > 0 || strict && d.Warnings > 0 {
				return &exitError{code: exitFailure}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&strict, "strict", false, "exit with 1 on warnings, too")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().DurationVar(&timeout, "timeout", 5*time.Second, "how long each service may take")
	return cmd
}

// examine looks at everything; the services at the same time.
func examine(ctx context.Context, all *settings, timeout time.Duration) []check {
	cfg := all.config()
	all.logger(io.Discard, slog.LevelWarn)
	config := examineConfig(all, cfg)
	checks := slices.Concat(config, examineHost())
	switch {
	case len(all.problems) > 0:
		rest := &findings{area: areaConfig}
		rest.unknown("services", "not looked at", "mend the configuration first")
		return append(checks, rest.checks...)
	case cfg.EmbeddedDir != "":
		return append(checks, examineEmbedded(ctx, cfg)...)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	parts := []func() []check{
		func() []check {
			return judgeRedis(cfg, redisbus.Inspect(ctx, servers.Redis(cfg.Redis).Options(nil)))
		},
		func() []check { return judgeMySQL(cfg, sqlstore.Inspect(ctx, servers.MySQL(cfg.MySQL).Options())) },
		func() []check {
			return judgeRabbitMQ(cfg, rabbit.Inspect(ctx, servers.RabbitMQ(cfg.RabbitMQ).Options(nil)))
		},
	}
	results := make([]chan []check, len(parts))
	for i, part := range parts {
		results[i] = make(chan []check, 1)
		go func() { results[i] <- part() }()
	}
	for _, result := range results {
		checks = append(checks, <-result...)
	}
	return checks
}

func examineEmbedded(ctx context.Context, cfg gateway.Config) []check {
	f := &findings{area: "embedded"}
	s, err := openStorage(ctx, cfg)
	if err != nil {
		f.fail("folder", err.Error(), "let the account write to the folder of MSG_EMBEDDED_DIR; one process at a time can use it, so stop the node first")
		return f.checks
	}
	_, err = s.Schema(ctx)
	if err = errors.Join(err, s.close()); err != nil {
		f.fail("folder", err.Error(), "look whether the disk is full, or the file damaged")
		return f.checks
	}
	f.ok("folder", "%s", s.name)
	f.warn("one process", "with MSG_EMBEDDED_DIR services cannot send to users, only over REST to hubs", "set the hosts of Redis, MySQL and RabbitMQ for anything but a trial")
	return f.checks
}

// diagnosis is what doctor prints.
type diagnosis struct {
	Version  string  `json:"version"`
	OK       bool    `json:"ok"`
	Failures int     `json:"failures"`
	Warnings int     `json:"warnings"`
	Unknown  int     `json:"unknown"`
	Checks   []check `json:"checks"`
}

func (d *diagnosis) summarise() {
	for _, c := range d.Checks {
		switch c.Level {
		case levelFailure:
			d.Failures++
		case levelWarning:
			d.Warnings++
		case levelUnknown:
			d.Unknown++
		case levelOK:
		}
	}
	d.OK = d.Failures == 0
}

// marks stand before a check for people.
var marks = map[level]string{levelOK: "  ok   ", levelUnknown: "  ?    ", levelWarning: "  WARN ", levelFailure: "  FAIL "}

func (d *diagnosis) print(p *program, w io.Writer) {
	area := ""
	for _, c := range d.Checks {
		if c.Area != area {
			area = c.Area
			p.printf(w, "%s\n", area)
		}
		p.printf(w, "%s%s: %s\n", marks[c.Level], c.Name, indent(c.Found))
		if c.ToDo != "" {
			p.printf(w, "         -> %s\n", c.ToDo)
		}
	}
	p.printf(w, "\n%s, %s, %d unknown\n", plural(d.Failures, "failure"), plural(d.Warnings, "warning"), d.Unknown)
}

func indent(text string) string { return strings.ReplaceAll(text, "\n", "\n         ") }

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}
