package batch

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// ErrTimeout is what a call fails with whose flush took longer than
// Options.Timeout.
var ErrTimeout = errors.New("batch: no outcome in time")

// timeoutError is the error of a flush that Options.Timeout ended. To its caller
// it is no context.DeadlineExceeded: the caller's ctx goes on.
type timeoutError struct {
	after time.Duration
	err   error
}

// Error is the flush's own text with the time.
func (e *timeoutError) Error() string { return fmt.Sprintf("gave up after %v: %v", e.after, e.err) }

// Is reports what the flush's error is, but for that.
func (e *timeoutError) Is(target error) bool {
	return target == ErrTimeout || target != context.DeadlineExceeded && errors.Is(e.err, target)
}

// ownTimeout marks the error of a flush that began at a time, and whose callers
// have later deadlines or none.
func ownTimeout(began time.Time, err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return &timeoutError{time.Since(began).Round(time.Millisecond), err}
	}
	return err
}
