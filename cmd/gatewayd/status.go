package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/bus"
	"github.com/message-gateway/gateway/internal/store"
	"github.com/message-gateway/gateway/internal/wire"
)

func newStatus(p *program) *cobra.Command {
	var limit int
	var asJSON bool
	status := &cobra.Command{
		Use: "status [flags]", Short: "Show messages and their states",
		Long: `Show how many rows of push_messages are in each state. The counting stops at
--limit rows of a state, so that it is cheap on a table of any size.

Only the database has to be reachable. PENDING is stored and not written to any
device, DELIVERING is written and not acknowledged; both belong to users who are
away, or whose devices do not acknowledge.`,
		Example: `  gatewayd status
  gatewayd status user ada
  gatewayd status message 01a20049-240d-7452-8a58-885a4683feeb
  gatewayd status --json | jq .counts.PENDING`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("there is no %q; it takes message, user, or nothing", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if limit < 1 {
				return usagef("--limit must be above 0")
			}
			s, err := p.openFor(cmd)
			if err != nil {
				return err
			}
			defer s.closeInto(&err)
			counts, err := s.Count(cmd.Context(), limit)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(p.stdout, countsOutput{Database: s.name, Limit: limit, Counts: counts})
			}
			p.printf(p.stdout, "%s\n", s.name)
			for _, state := range []wire.Status{wire.Pending, wire.Delivering, wire.RequestDelivered, wire.Finished, wire.TimedOut} {
				more := ""
				if counts[state] == limit {
					more = " or more"
				}
				p.printf(p.stdout, "  %-18s %d%s\n", state, counts[state], more)
			}
			return nil
		},
	}
	status.Flags().IntVar(&limit, "limit", 100_000, "count no more than this `number` of rows in a state")
	status.Flags().BoolVar(&asJSON, "json", false, "print JSON; a count that equals limit means that or more")
	status.AddCommand(newStatusMessage(p), newStatusUser(p))
	return status
}

type countsOutput struct {
	Database string              `json:"database"`
	Limit    int                 `json:"limit"`
	Counts   map[wire.Status]int `json:"counts"`
}

func newStatusMessage(p *program) *cobra.Command {
	var payload, asJSON bool
	cmd := &cobra.Command{
		Use: "message ID [flags]", Short: "Show one message, its state, and a command's answer",
		Long: `Show one stored message or command: its state, when it got there, and a command's
answer. What users wrote is shown with --payload only.

Nodes write states in batches, so what a device did a moment ago may not show yet.
Exit code 5: there is no such message, perhaps as it was purged.`,
		Example: `  gatewayd status message 01a20049-240d-7452-8a58-885a4683feeb
  gatewayd status message order-4711-shipped --payload --json`,
		Args: takes("ID"),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			s, err := p.openFor(cmd)
			if err != nil {
				return err
			}
			defer s.closeInto(&err)
			row, err := s.Get(cmd.Context(), args[0])
			if errors.Is(err, store.ErrNotFound) {
				return &exitError{exitNotThere, fmt.Errorf("no message has the id %q", args[0])}
			}
			if err != nil {
				return err
			}
			m := newMessageOutput(row, payload)
			if asJSON {
				return printJSON(p.stdout, m)
			}
			p.printf(p.stdout, "%s", m)
			return nil
		},
	}
	cmd.Flags().BoolVar(&payload, "payload", false, "show payload and response, too")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func newStatusUser(p *program) *cobra.Command {
	var limit int
	var payload, asJSON bool
	cmd := &cobra.Command{
		Use: "user USER [flags]", Short: "Show what a user has not finished, and whether a device is connected",
		Long: `Show the messages and commands that a user has not finished, the oldest first, and
whether a device of the user is connected, in the default hub.

Only the database has to be reachable; while Redis is down nobody knows who is
online, and the rest is shown.`,
		Example: `  gatewayd status user ada
  gatewayd status user ada --limit 5 --payload
  gatewayd status user ada --json | jq .online`,
		Args: takes("USER"),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if limit < 1 || limit > gateway.MaxHistoryLimit {
				return usagef("--limit must be between 1 and %d", gateway.MaxHistoryLimit)
			}
			s, err := p.openFor(cmd)
			if err != nil {
				return err
			}
			defer s.closeInto(&err)
			rows, err := s.Unfinished(cmd.Context(), args[0], store.Cursor{}, limit+1)
			if err != nil {
				return err
			}
			out := userOutput{UserID: args[0], More: len(rows) > limit, Unfinished: []messageOutput{}}
			for _, row := range rows[:min(len(rows), limit)] {
				out.Unfinished = append(out.Unfinished, newMessageOutput(row, payload))
			}
			online, err := isOnline(cmd.Context(), s, args[0])
			if err != nil {
				out.OnlineError = err.Error()
			} else {
				out.Online = &online
			}
			if asJSON {
				return printJSON(p.stdout, out)
			}
			p.printf(p.stdout, "%s", out)
			return nil
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 20, "show this `number` of messages at most")
	cmd.Flags().BoolVar(&payload, "payload", false, "show payloads, too")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON; online is null while Redis cannot be asked")
	return cmd
}

// isOnline asks as Client.Online does.
func isOnline(ctx context.Context, s *storage, userID string) (online bool, err error) {
	var names wire.Names
	b := s.bus
	if b == nil {
		names.RedisPrefix = s.cfg.Redis.KeyPrefix
		var opened bus.Bus
		if opened, err = openBus(ctx, s.cfg); err != nil {
			return false, err
		}
		defer func() { _ = opened.Close() }()
		b = opened
	}
	counts, err := b.Subscribers(ctx, false, []string{names.Realtime(userID)})
	if err != nil {
		return false, err
	}
	return counts[0] > 0, nil
}

type userOutput struct {
	UserID      string          `json:"userId"`
	Online      *bool           `json:"online"`
	OnlineError string          `json:"onlineError,omitempty"`
	Unfinished  []messageOutput `json:"unfinished"`
	More        bool            `json:"more"`
}

// String is the state for people.
func (u userOutput) String() string {
	var b strings.Builder
	switch {
	case u.Online == nil:
		fmt.Fprintf(&b, "%s: nobody knows whether a device is connected: %s\n", u.UserID, u.OnlineError)
	case *u.Online:
		fmt.Fprintf(&b, "%s: online\n", u.UserID)
	default:
		fmt.Fprintf(&b, "%s: offline\n", u.UserID)
	}
	if len(u.Unfinished) == 0 {
		b.WriteString("nothing is unfinished\n")
	}
	for _, m := range u.Unfinished {
		b.WriteString(m.String())
	}
	if u.More {
		b.WriteString("and more; see --limit\n")
	}
	return b.String()
}

// messageOutput is a row for people and scripts.
type messageOutput struct {
	ID                 string          `json:"id"`
	UserID             string          `json:"userId"`
	Kind               string          `json:"kind"`
	Status             string          `json:"status"`
	Seq                int64           `json:"seq"`
	Sender             string          `json:"sender,omitempty"`
	PayloadBytes       int             `json:"payloadBytes"`
	Answered           bool            `json:"answered,omitempty"`
	Payload            json.RawMessage `json:"payload,omitempty"`
	Response           json.RawMessage `json:"response,omitempty"`
	CreatedAt          time.Time       `json:"createdAt"`
	DeliveringAt       time.Time       `json:"deliveringAt,omitzero"`
	RequestDeliveredAt time.Time       `json:"requestDeliveredAt,omitzero"`
	FinishedAt         time.Time       `json:"finishedAt,omitzero"`
	ExpiresAt          time.Time       `json:"expiresAt,omitzero"`
}

func newMessageOutput(row *store.Message, payload bool) messageOutput {
	m := messageOutput{
		ID: row.ID, UserID: row.UserID, Kind: gateway.Kind(row.PushType).String(), Status: string(row.Status), Seq: row.Seq,
		Sender: row.SenderType, PayloadBytes: len(row.Payload), Answered: row.Response != nil,
		CreatedAt: row.CreatedAt, DeliveringAt: row.DeliveringAt, RequestDeliveredAt: row.RequestDeliveredAt,
		FinishedAt: row.FinishedAt, ExpiresAt: row.ExpiresAt,
	}
	if row.SenderID != "" {
		m.Sender += ":" + row.SenderID
	}
	if payload {
		m.Payload, m.Response = row.Payload, row.Response
	}
	return m
}

// String is the message for people.
func (m messageOutput) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s  %s\n", m.ID, m.Kind, m.Status)
	line := func(name, value string) { fmt.Fprintf(&b, "    %-18s %s\n", name, value) }
	line("user", m.UserID)
	line("seq", fmt.Sprint(m.Seq))
	if m.Sender != "" {
		line("sender", m.Sender)
	}
	for _, t := range []struct {
		name string
		at   time.Time
	}{
		{"created", m.CreatedAt}, {"written to device", m.DeliveringAt}, {"command received", m.RequestDeliveredAt},
		{"finished", m.FinishedAt}, {"expires", m.ExpiresAt},
	} {
		if !t.at.IsZero() {
			line(t.name, t.at.Format(time.RFC3339))
		}
	}
	if m.Answered {
		line("answered", "yes")
	}
	if m.Payload != nil {
		line("payload", string(m.Payload))
	} else {
		line("payload", fmt.Sprintf("%d bytes", m.PayloadBytes))
	}
	if m.Response != nil {
		line("response", string(m.Response))
	}
	return b.String()
}
