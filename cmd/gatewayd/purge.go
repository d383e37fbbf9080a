package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"
)

const purgeLong = `Delete messages and commands that finished or timed out before a time.

Nodes do this by themselves after --retention (seven days); this command is for
nodes that keep everything (--retention -1ns), or for making room now. Messages
that no device has acknowledged are never deleted.

Nothing is deleted without --yes: without it the command counts what it would
delete, and exits with 2, or, with --dry-run, with 0. It never asks, so it does
the same in a script and at a terminal.

Rows are deleted in small batches with a pause after each, so that replicas
follow and nobody waits for locks. It can be interrupted and run again at any
time. Ages are counted by the clock of the database, which alone has to be
reachable.`

const purgeExample = `  # How many rows are older than thirty days?
  gatewayd purge --older-than 720h --dry-run

  # Delete them, a million at most.
  gatewayd purge --older-than 720h --limit 1000000 --yes`

// purging are the flags of purge.
type purging struct {
	olderThan    time.Duration
	limit, batch int
	pause        time.Duration
	yes, dryRun  bool
	asJSON       bool
}

// maxPurgeBatch is the most rows that one transaction should delete.
const maxPurgeBatch = 10_000

func newPurge(p *program) *cobra.Command {
	var o purging
	cmd := &cobra.Command{
		Use: "purge --older-than DURATION [flags]", Short: "Delete messages that finished or timed out long ago",
		Long: purgeLong, Example: purgeExample, Args: takes(),
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if err := o.validate(cmd.Flags().Changed("older-than")); err != nil {
				return err
			}
			s, err := p.openFor(cmd)
			if err != nil {
				return err
			}
			defer s.closeInto(&err)
			return p.purge(cmd.Context(), s, o)
		},
	}
	fs := cmd.Flags()
	fs.DurationVar(&o.olderThan, "older-than", 0, "how long ago they finished or timed out, such as 720h; required")
	fs.IntVar(&o.limit, "limit", 1_000_000, "delete, or count, this `number` of rows at most")
	fs.IntVar(&o.batch, "batch", 500, "delete this `number` of rows at a time")
	fs.DurationVar(&o.pause, "pause", 50*time.Millisecond, "wait this long after each batch")
	fs.BoolVar(&o.yes, "yes", false, "delete")
	fs.BoolVar(&o.dryRun, "dry-run", false, "only count, and exit with 0")
	fs.BoolVar(&o.asJSON, "json", false, "print JSON")
	return cmd
}

func (o purging) validate(given bool) error {
	switch {
	case !given:
		return usagef("--older-than is required, such as --older-than 720h")
	case o.olderThan < 0:
		return usagef("--older-than must not be negative")
	case o.limit < 1:
		return usagef("--limit must be above 0")
	case o.batch < 1 || o.batch > maxPurgeBatch:
		return usagef("--batch must be between 1 and %d", maxPurgeBatch)
	case o.pause < 0:
		return usagef("--pause must not be negative")
	case o.yes && o.dryRun:
		return usagef("--yes and --dry-run exclude each other")
	}
	return nil
}

type purgeOutput struct {
	Database string    `json:"database"`
	Before   time.Time `json:"before"`
	Deleted  int       `json:"deleted"`
	// Found is what would be deleted; it is only counted where nothing is.
	Found int `json:"found"`
	// More says that the limit was reached, so that there may be more.
	More bool `json:"more"`
}

func (p *program) purge(ctx context.Context, s *storage, o purging) error {
	out := purgeOutput{Database: s.name, Before: s.Now().Add(-o.olderThan).Truncate(time.Second)}
	var err error
	if o.yes {
		err = out.delete(ctx, s, o)
	} else {
		out.Found, err = s.Purgeable(ctx, out.Before, o.limit)
	}
	if err != nil && out.Deleted == 0 {
		return err
	}
	out.More = max(out.Deleted, out.Found) >= o.limit
	switch {
	case o.asJSON:
		if printed := printJSON(p.stdout, out); printed != nil {
			return printed
		}
	case o.yes:
		p.printf(p.stdout, "%s: deleted %d rows that ended before %s%s\n", out.Database, out.Deleted, out.Before.Format(time.RFC3339), orMore(out.More))
	default:
		p.printf(p.stdout, "%s: %d rows ended before %s%s\n", out.Database, out.Found, out.Before.Format(time.RFC3339), orMore(out.More))
	}
	if err == nil && !o.yes && !o.dryRun {
		return usagef("nothing was deleted; repeat with --yes to delete them")
	}
	return err
}

func orMore(more bool) string {
	if more {
		return "; the limit is reached, there may be more"
	}
	return ""
}

// delete deletes in batches until nothing is left, the limit is reached, or ctx
// ends. What it has deleted stays deleted.
func (o *purgeOutput) delete(ctx context.Context, s *storage, p purging) error {
	for o.Deleted < p.limit {
		size := min(p.batch, p.limit-o.Deleted)
		n, err := s.Purge(ctx, o.Before, size)
		o.Deleted += n
		if err != nil || n < size {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(p.pause):
		}
	}
	return nil
}
