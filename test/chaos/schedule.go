package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// result is what a fault came to.
type result struct {
	name     string
	failed   int
	recovery time.Duration
	timedOut bool
	notRun   string // why
}

const (
	// longRun is the duration from which on faults last as long as they may.
	longRun = 5 * time.Minute
	// stateTime is how long a service is in a state, and linkTime how long links
	// are broken, at most.
	stateTime = 5 * time.Second
	linkTime  = 12 * time.Second
	// recoverTime bounds how long it may take until everything is as before.
	recoverTime = 30 * time.Second
	// settleTime is kept for the end of a run.
	settleTime = 12 * time.Second
)

// roundOf is the n-th round of a run: what the options say, and nothing that
// happens, decides it.
func roundOf(o options, n int) []fault {
	return round(rand.New(rand.NewPCG(o.seed, uint64(n))), o.duration >= longRun)
}

// round is every kind of fault once, in an order and with lengths that the seed
// decides.
func round(rng *rand.Rand, long bool) []fault {
	span := func(most time.Duration) time.Duration {
		least := 500 * time.Millisecond
		if !long {
			most = min(most, 1500*time.Millisecond)
		}
		return least + time.Duration(rng.Int64N(int64(most-least)))
	}
	pick := func(names []string) string { return names[rng.IntN(len(names))] }
	procs := append(append([]string{""}, nodeNames...), senderNames...)
	const most = 20 * time.Second
	floodPause := 10 * time.Second
	if long {
		floodPause = 30 * time.Second
	}
	two := append([]string{}, serviceNames...)
	rng.Shuffle(len(two), func(i, j int) { two[i], two[j] = two[j], two[i] })
	faults := []fault{
		killServices([]string{redisService}, span(most)),
		killServices([]string{mysqlService}, span(most)),
		killServices([]string{rabbitService}, span(most)),
		killServices(two[:2], span(most)),
		pauseService(redisService, span(most)),
		pauseService(mysqlService, span(most)),
		pauseService(rabbitService, span(most)),
		pauseProc(pick(nodeNames), span(most)),
		pauseProc(pick(senderNames), span(most)),
		network("cut", pick(serviceNames), pick(procs), span(linkTime)),
		network("reset", pick(serviceNames), pick(procs), span(linkTime)),
		network("torn", pick(serviceNames), pick(procs), span(linkTime)),
		unreachable(pick(serviceNames), pick(procs), span(linkTime)),
		noNames(pick([]string{"unknown", "failures", "not answered"}), span(linkTime)),
		deviceNetwork("slow", pick(nodeNames), span(linkTime)),
		deviceNetwork("half-open", pick(nodeNames), span(linkTime)),
		deviceNetwork("torn", pick(nodeNames), span(linkTime)),
		network("slow", pick(serviceNames), pick(procs), span(linkTime)),
		network("half-open", pick(serviceNames), pick(procs), span(linkTime)),
		network("deaf", pick(serviceNames), pick(procs), span(linkTime)),
		killProc(pick(nodeNames), span(5*time.Second)),
		restartNode(pick(nodeNames)),
		killProc(pick(senderNames), 0),
		deafDeath(pick(senderNames), span(2*time.Second)),
		order(orderDieBefore, pick(senderNames)),
		order(orderDieAfter, pick(senderNames)),
		order(orderClose, pick(senderNames)),
		flush(),
		fullDisk(span(2 * time.Second)),
		upgrade(pick(nodeNames), pick(senderNames), span(2*time.Second)),
		// Numbers that were drawn before Redis lost its counters reach the table
		// after others have looked there for the highest.
		during("late", mysqlService, pick(senderNames), 1500*time.Millisecond, flush()),
		during(pick([]string{"cut", "half-open"}), pick(serviceNames), pick(nodeNames), span(time.Second),
			killServices([]string{pick(serviceNames)}, span(most))),
		clockJump(pick(nodeNames), rng),
		clockJump(pick(senderNames), rng),
		flood(floodPause),
	}
	faults = slices.Concat(faults, redisStates(span), mysqlStates(span), rabbitStates(span))
	rng.Shuffle(len(faults), func(i, j int) { faults[i], faults[j] = faults[j], faults[i] })
	return faults
}

// faults runs rounds until the time is used up; the first one is whole in any
// case.
func (r *run) faults(ctx context.Context) error {
	if _, ok := r.awaitFullRate(ctx, time.Now()); !ok {
		r.ledger.complain("full rate was not reached before any fault")
	}
	r.say("full rate; the faults begin")
	end := r.began.Add(r.opts.duration - settleTime)
	for n := 1; n == 1 || time.Now().Before(end); n++ {
		for _, f := range roundOf(r.opts, n) {
			if !strings.Contains(f.name, r.opts.only) {
				continue
			}
			if n > 1 && time.Now().After(end) {
				break
			}
			if err := r.one(ctx, f); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *run) one(ctx context.Context, f fault) error {
	began, before := time.Now(), sampleLoad()
	detail, err := f.do(ctx, r)
	var notRun *notRunError
	if errors.As(err, &notRun) {
		r.results = append(r.results, result{name: f.name, notRun: notRun.why})
		r.say("%s: NOT RUN: %s", f.name, notRun.why)
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", f.name, err)
	}
	mended := time.Now()
	recovery, ok := r.awaitFullRate(ctx, mended)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	res := result{name: f.name, failed: r.ledger.failures(began, time.Now()), recovery: recovery, timedOut: !ok}
	r.results = append(r.results, res)
	if others := before.others(sampleLoad()); others > 0.5 {
		detail += fmt.Sprintf("; other programs took %.0f %% of the machine, bounds grew", others*100)
		r.crowded++
	}
	if detail != "" {
		detail = " (" + strings.TrimPrefix(detail, "; ") + ")"
	}
	if !ok {
		r.ledger.complain("after %s%s: not back to full rate within %v", f.name, detail, recovery.Round(time.Second))
		r.say("%s%s: NOT back to full rate after %v", f.name, detail, recovery.Round(time.Second))
		return nil
	}
	r.say("%s%s: %d sends failed, full rate after %.1f s", f.name, detail, res.failed, recovery.Seconds())
	return nil
}

// awaitFullRate waits for a second in which as many sends were done at once as
// should be, and what was sent to those who are connected has arrived.
func (r *run) awaitFullRate(ctx context.Context, since time.Time) (time.Duration, bool) {
	// About half of what a sender does is plain reliable sends; a quarter less
	// is chance in a second, half of them in a quarter of it, which is looked at
	// so that the second does not begin before its time.
	want := float64(r.opts.rate*len(senderNames)) * 0.56
	const step = 50 * time.Millisecond
	start := sampleLoad()
	start.at = since
	for from := since; !start.over(recoverTime) || from.Before(since.Add(recoverTime)); from = from.Add(step) {
		// A second for the sends to begin, one to return, one to arrive; most of
		// the time less will do.
		for limit := from.Add(3 * time.Second); ; {
			atOnce, _ := r.ledger.rate(from, time.Second/4)
			good, arrived := r.ledger.rate(from, time.Second)
			if float64(atOnce) >= want/8 && float64(good) >= want*0.75 && arrived > 0.95 {
				return from.Sub(since), true
			}
			if time.Now().After(limit) {
				break
			}
			if sleep(ctx, step) != nil {
				return 0, false
			}
		}
	}
	return time.Since(since), false
}
