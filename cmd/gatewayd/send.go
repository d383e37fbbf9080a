package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/message-gateway/gateway"
)

const sendLong = `Send to a user's devices, as a service does, and print what became of it as JSON.

PAYLOAD is a JSON value, @FILE for what is in a file, or - for standard input.
With --text it is plain text, which is sent as a JSON string.

With MSG_EMBEDDED_DIR this works only while no other process uses the folder.`

func newSend(p *program) *cobra.Command {
	send := &cobra.Command{
		Use: "send", Short: "Send a realtime message, a reliable one, or a command", Long: sendLong,
		Example: `  gatewayd send realtime ada '{"typing":true}'
  gatewayd send reliable ada '{"text":"your order is on its way"}'
  gatewayd send command ada ASK_MOOD '{"text":"how are you?"}' --timeout 1m`,
	}
	send.AddCommand(newSendRealtime(p), newSendReliable(p), newSendCommand(p))
	return parent(send)
}

// sending are the flags of the three sends.
type sending struct {
	id, sender    string
	timeout       time.Duration
	retryInterval time.Duration
	noWait, text  bool
	failIfOffline bool
}

// receipt is what a send prints.
type receipt struct {
	Kind      string          `json:"kind"`
	UserID    string          `json:"userId"`
	MessageID string          `json:"messageId,omitempty"`
	Outcome   string          `json:"outcome"`
	Response  json.RawMessage `json:"response,omitempty"`
	Late      bool            `json:"late,omitempty"`
	Error     *receiptError   `json:"error,omitempty"`
}

type receiptError struct {
	Code    string `json:"code,omitempty"`
	Message string `json:"message"`
}

// Outcomes of sends.
const (
	outcomePublished = "published"
	outcomeStored    = "stored"
	outcomeAnswered  = "answered"
	outcomeRefused   = "device error"
	outcomeTimeout   = "timeout"
	outcomeOffline   = "offline"
	outcomeUnknown   = "unknown"
)

func newSendRealtime(p *program) *cobra.Command {
	var s sending
	cmd := &cobra.Command{
		Use: "realtime USER PAYLOAD [flags]", Short: "Send to whoever is connected now, at most once",
		Long: `Send to the user's devices that are connected now, at most once. Nothing is
stored; a user who is away misses it, and nobody is told.`,
		Example: `  gatewayd send realtime ada '{"typing":true}'
  gatewayd send realtime ada --text 'back in five minutes'
  jq -c .position state.json | gatewayd send realtime ada -`,
		Args: takes("USER", "PAYLOAD"),
		RunE: func(cmd *cobra.Command, args []string) error {
			out := receipt{Kind: "realtime", UserID: args[0], Outcome: outcomePublished}
			return p.send(cmd, s, args[1], out, func(ctx context.Context, c *gateway.Client, payload json.RawMessage, out *receipt) error {
				ctx, cancel := context.WithTimeout(ctx, s.timeout)
				defer cancel()
				return c.SendRealtime(ctx, out.UserID, payload, s.options(cmd.Flags())...)
			})
		},
	}
	s.addTo(cmd.Flags(), 10*time.Second, "how long the send may take")
	return cmd
}

func newSendReliable(p *program) *cobra.Command {
	var s sending
	cmd := &cobra.Command{
		Use: "reliable USER PAYLOAD [flags]", Short: "Store a message and deliver it until a device acknowledges it",
		Long: `Store a message, which then is delivered until one of the user's devices
acknowledges it, also if the user comes back tomorrow. "gatewayd status message ID"
tells how far it is.

With --id the send can be repeated: the second time it stores nothing and reports
success.`,
		Example: `  gatewayd send reliable ada '{"text":"your order is on its way"}'
  gatewayd send reliable ada @order.json --id order-4711-shipped --sender server:backoffice`,
		Args: takes("USER", "PAYLOAD"),
		RunE: func(cmd *cobra.Command, args []string) error {
			out := receipt{Kind: "reliable", UserID: args[0], Outcome: outcomeStored}
			return p.send(cmd, s, args[1], out, func(ctx context.Context, c *gateway.Client, payload json.RawMessage, out *receipt) (err error) {
				ctx, cancel := context.WithTimeout(ctx, s.timeout)
				defer cancel()
				out.MessageID, err = c.SendReliable(ctx, out.UserID, payload, s.options(cmd.Flags())...)
				return err
			})
		},
	}
	s.addTo(cmd.Flags(), 10*time.Second, "how long the send may take")
	s.addStored(cmd.Flags())
	return cmd
}

func newSendCommand(p *program) *cobra.Command {
	var s sending
	cmd := &cobra.Command{
		Use: "command USER TYPE [PAYLOAD] [flags]", Short: "Ask a device for something and wait for its answer",
		Long: `Store a command, have it delivered, and wait for the first answer of any of the
user's devices, which is printed. The command waits for a user who is away until
--timeout. Without PAYLOAD its data is null.

With --no-wait it returns as soon as the command is stored; "gatewayd status
message ID" shows the answer when there is one.

Exit codes: 0 answered (or stored, with --no-wait), 3 no answer in time, 4 the
device answered with an error, 5 offline (with --fail-if-offline).`,
		Example: `  gatewayd send command ada ASK_MOOD '{"text":"how are you?"}' --timeout 1m
  gatewayd send command ada REFRESH --no-wait
  gatewayd send command ada PING --fail-if-offline --timeout 5s | jq .response`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 2 {
				return nil
			}
			return takes("USER", "TYPE", "PAYLOAD")(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			out := receipt{Kind: "command", UserID: args[0], Outcome: outcomeAnswered}
			argument := "null"
			if len(args) > 2 {
				argument = args[2]
			}
			return p.send(cmd, s, argument, out, func(ctx context.Context, c *gateway.Client, payload json.RawMessage, out *receipt) error {
				res, err := c.SendCommand(ctx, out.UserID, args[1], payload, s.options(cmd.Flags())...)
				if res != nil {
					out.MessageID, out.Response, out.Late = res.MessageID, res.Response, res.Late
				}
				if s.noWait && err == nil {
					out.Outcome = outcomeStored
				}
				return err
			})
		},
	}
	s.addTo(cmd.Flags(), gateway.DefaultCommandTimeout, "how long the device may take to answer")
	s.addStored(cmd.Flags())
	cmd.Flags().BoolVar(&s.noWait, "no-wait", false, "return when the command is stored")
	return cmd
}

func (s *sending) addTo(fs *pflag.FlagSet, timeout time.Duration, usage string) {
	fs.DurationVar(&s.timeout, "timeout", timeout, usage)
	fs.StringVar(&s.sender, "sender", "", "who sends, as `type:id`, such as server:backoffice")
	fs.BoolVar(&s.failIfOffline, "fail-if-offline", false, "send nothing, and exit with 5, if no device of the user is connected")
	fs.BoolVar(&s.text, "text", false, "PAYLOAD is plain text, not JSON")
}

func (s *sending) addStored(fs *pflag.FlagSet) {
	fs.StringVar(&s.id, "id", "", "`id` of the message, which makes the send safe to repeat (default: a new one)")
	fs.DurationVar(&s.retryInterval, "retry-interval", 0, "when it is sent again that no device acknowledged (default 1m)")
}

// options are those of the flags that the send has and that were given.
func (s *sending) options(fs *pflag.FlagSet) []gateway.SendOption {
	var opts []gateway.SendOption
	if s.sender != "" {
		kind, id, _ := strings.Cut(s.sender, ":")
		opts = append(opts, gateway.WithSender(kind, id))
	}
	if s.failIfOffline {
		opts = append(opts, gateway.FailIfOffline())
	}
	if fs.Changed("id") {
		opts = append(opts, gateway.WithMessageID(s.id))
	}
	if s.retryInterval != 0 {
		opts = append(opts, gateway.WithRetryInterval(s.retryInterval))
	}
	if fs.Lookup("no-wait") != nil {
		opts = append(opts, gateway.WithTimeout(s.timeout))
	}
	if s.noWait {
		opts = append(opts, gateway.NoWait())
	}
	return opts
}

// send opens a client, sends, and prints the receipt, also of a failure after
// which something may be stored.
func (p *program) send(cmd *cobra.Command, s sending, argument string, out receipt,
	call func(context.Context, *gateway.Client, json.RawMessage, *receipt) error,
) (err error) {
	if s.timeout <= 0 {
		return usagef("--timeout must be above 0")
	}
	payload, err := p.payload(argument, s.text)
	if err != nil {
		return err
	}
	all, err := p.settings(cmd)
	if err != nil {
		return err
	}
	cfg := all.config()
	log := all.logger(p.stderr, slog.LevelWarn)
	if err := all.err(); err != nil {
		return err
	}
	p.redirect(log)
	client, err := gateway.New(cmd.Context(), cfg, gateway.WithLogger(log))
	if err != nil {
		return err
	}
	defer func() {
		// The answer counts; that closing took too long is for people.
		if closed := client.Close(); closed != nil {
			p.printf(p.stderr, "%s: close: %v\n", cmd.CommandPath(), closed)
		}
	}()
	failure := call(cmd.Context(), client, payload, &out)
	return p.report(out, failure)
}

// report prints what became of a send, and chooses the exit code.
func (p *program) report(out receipt, failure error) error {
	var refused *gateway.CommandError
	code := exitFailure
	switch {
	case failure == nil:
		code = exitOK
	case errors.Is(failure, gateway.ErrInvalidArgument), errors.Is(failure, gateway.ErrMessageIDConflict):
		return &usageError{failure} // nothing was sent
	case errors.As(failure, &refused):
		code, out.Outcome = exitAnswer, outcomeRefused
		out.Error = &receiptError{Code: refused.Code, Message: refused.Message}
	case errors.Is(failure, gateway.ErrUserOffline):
		code, out.Outcome = exitNotThere, outcomeOffline
	case errors.Is(failure, gateway.ErrCommandTimeout):
		code, out.Outcome = exitTimeout, outcomeTimeout
	default:
		out.Outcome = outcomeUnknown
	}
	if out.Error == nil && failure != nil {
		out.Error = &receiptError{Message: failure.Error()}
	}
	if err := printJSON(p.stdout, out); err != nil {
		return err
	}
	if failure == nil {
		return nil
	}
	return &exitError{code: code, err: explain(failure)}
}
