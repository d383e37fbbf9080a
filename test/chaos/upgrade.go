package main

import (
	"context"
	"fmt"
	"time"
)

// upgrade is a rolling restart of both nodes and a sender to the earlier
// version and back, under load: what each version has written and published is
// read by the other.
func upgrade(first, sender string, mixed time.Duration) fault {
	return fault{"rolling restart to the earlier version and back", mixed, func(ctx context.Context, r *run) (string, error) {
		if r.opts.old == "" {
			return "", &notRunError{"no earlier version was built"}
		}
		second := nodeNames[0]
		if first == second {
			second = nodeNames[1]
		}
		began := time.Now()
		for _, program := range []string{r.opts.old, ""} {
			for _, name := range []string{first, sender, second} {
				if err := r.replace(ctx, name, program); err != nil {
					return "", err
				}
				if err := sleep(ctx, mixed); err != nil {
					return "", err
				}
			}
		}
		return fmt.Sprintf("%s mixed, %s in all", seconds(mixed), seconds(time.Since(began))), nil
	}}
}

// replace ends a process as a deployment does, and starts it as this program or
// another.
func (r *run) replace(ctx context.Context, name, program string) error {
	p := r.procs[name]
	if _, isNode := r.listen[name]; isNode {
		p.terminate()
	} else if err := p.tell(orderClose); err != nil {
		return err
	}
	if err := p.wait(shutdownTime + 5*time.Second); err != nil {
		r.ledger.complain("%s at its end: %v", name, err)
	}
	if err := r.begin(name, func(c *procConfig) {
		c.program = program
		if program != "" {
			c.clock = 0 // what was built of it has the clock of this machine
		}
	}); err != nil {
		return err
	}
	return r.procs[name].awaitUp(ctx)
}
