package gateway

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// ErrInvalidArgument is the parent of every error about a bad argument: all of
// them match it with errors.Is. Nothing was written or sent.
var ErrInvalidArgument = errors.New("invalid argument")

// Errors about one argument. Each also matches ErrInvalidArgument.
var (
	// ErrNilContext: ctx is nil.
	ErrNilContext = argument("ctx is nil")
	// ErrEmptyUserID: the user id is empty.
	ErrEmptyUserID = argument("user id is empty")
	// ErrInvalidUserID: the user id is not valid UTF-8, or longer than the
	// column of push_messages (255 characters in the table that Migrate creates).
	ErrInvalidUserID = argument("bad user id")
	// ErrInvalidMessageID: the id of WithMessageID is empty, not valid UTF-8,
	// or longer than the column (64 characters in the table that Migrate creates).
	ErrInvalidMessageID = argument("bad message id")
	// ErrInvalidSender: the sender's type or id is not valid UTF-8 or too long.
	ErrInvalidSender = argument("bad sender")
	// ErrInvalidPayload: the payload cannot be encoded as JSON, is a
	// json.RawMessage that is no JSON value, or is a JSON value that the
	// database refuses (MariaDB, for one, refuses more than 32 levels of nesting).
	ErrInvalidPayload = argument("payload is no JSON value")
	// ErrPayloadTooLarge: the payload is larger than Config.MaxPayload.
	ErrPayloadTooLarge = argument("payload is too large")
	// ErrInvalidTimeout: a timeout or retry interval is negative or too long.
	ErrInvalidTimeout = argument("bad timeout")
	// ErrInvalidCommandType: the type of a command is empty, longer than 1024
	// bytes, or not valid UTF-8.
	ErrInvalidCommandType = argument("bad command type")
	// ErrInvalidOption: an option was given to a send that cannot honour it.
	ErrInvalidOption = argument("option does not apply")
	// ErrInvalidQuery: a history query is out of bounds.
	ErrInvalidQuery = argument("bad query")
	// ErrInvalidHub: the hub's name breaks the rules of Azure Web PubSub.
	ErrInvalidHub = argument("bad hub name")
)

// Errors about the state of things.
var (
	// ErrClosed: the client was closed before or during the call.
	ErrClosed = errors.New("client is closed")
	// ErrOverloaded: too many calls wait already. Nothing was written or sent;
	// try again later.
	ErrOverloaded = errors.New("too many calls are waiting")
	// ErrUserOffline: FailIfOffline was given and no device of the user is
	// connected. Nothing was written or sent.
	ErrUserOffline = errors.New("user is offline")
	// ErrMessageIDConflict: the id of WithMessageID belongs to a message for
	// another user or of another kind. Nothing was written.
	ErrMessageIDConflict = errors.New("message id belongs to another message")
	// ErrMessageNotFound: no stored message has this id.
	ErrMessageNotFound = errors.New("no such message")
	// ErrNotCommand: the message is no command.
	ErrNotCommand = errors.New("message is no command")
	// ErrCommandTimeout: the device did not answer in time. The error also is
	// context.DeadlineExceeded if, and only if, the caller's ctx ended before
	// the command's own timeout; the command then still runs until its timeout.
	ErrCommandTimeout = errors.New("command timed out")
	// ErrNoSchema: the table push_messages does not exist; call Migrate.
	ErrNoSchema = errors.New("table push_messages does not exist, run Migrate")
	// ErrNoAccessKey: no access key is configured, so no tokens can be made.
	ErrNoAccessKey = errors.New("no access key is configured (MSG_ACCESS_KEY)")
	// ErrNoEndpoint: no public address of the nodes is known, so no token can
	// be made for it.
	ErrNoEndpoint = errors.New("no endpoint is configured (MSG_ENDPOINT)")
)

// Errors of hubs.
var (
	// ErrConnectionNotFound: the hub has no connection with this id.
	ErrConnectionNotFound = errors.New("no such connection")
	// ErrUserNotConnected: the user has no connection in the hub.
	ErrUserNotConnected = errors.New("user has no connection")
	// ErrTooManyPermissions: the connection has as many permissions for single
	// groups as it can have.
	ErrTooManyPermissions = errors.New("too many permissions for single groups")
	// ErrNodeUnanswered: a node that holds connections concerned did not
	// answer in time, or one of them just moved to another node. The operation
	// may have happened on some nodes; it can be repeated.
	ErrNodeUnanswered = errors.New("a node did not answer")
	// ErrInvalidGroup: a group name is empty, blank, or longer than 1024
	// characters.
	ErrInvalidGroup = argument("bad group name")
	// ErrInvalidFilter: a filter does not parse; the text says where.
	ErrInvalidFilter = argument("bad filter")
	// ErrInvalidConnectionID: a connection id is empty or not valid UTF-8.
	ErrInvalidConnectionID = argument("bad connection id")
	// ErrInvalidPermission: the permission is none of the two.
	ErrInvalidPermission = argument("bad permission")
)

// CommandError is a device's answer that says that the command failed.
type CommandError struct {
	// Code is the device's own code.
	Code string
	// Message is the device's own text.
	Message string
}

// Error describes what the device said.
func (e *CommandError) Error() string {
	return fmt.Sprintf("device answered with error %q: %s", e.Code, e.Message)
}

// ConfigError lists every mistake of a configuration. It holds no values of
// variables that are secret.
type ConfigError struct {
	Problems []ConfigProblem
}

// ConfigProblem is one mistake.
type ConfigProblem struct {
	// Name is the environment variable or field that is wrong.
	Name string
	// Problem says what is wrong with it.
	Problem string
}

// Error lists the problems, one a line.
func (e *ConfigError) Error() string {
	var b strings.Builder
	b.WriteString("bad configuration:")
	for _, p := range e.Problems {
		b.WriteString("\n  " + p.Name + ": " + p.Problem)
	}
	return b.String()
}

// argumentError is a sentinel that also is ErrInvalidArgument.
type argumentError struct{ text string }

func argument(text string) error { return &argumentError{text} }

// Error is the text of the sentinel.
func (e *argumentError) Error() string { return e.text }

// Is makes the sentinel match its parent.
func (e *argumentError) Is(target error) bool { return target == ErrInvalidArgument }

// waitError is the end of a wait by the caller's ctx.
type waitError struct{ cause error }

// Error says which of the two ends it was.
func (e *waitError) Error() string {
	return fmt.Sprintf("%v: %v before the device answered", ErrCommandTimeout, e.cause)
}

// Unwrap makes the error match both ErrCommandTimeout and the cause.
func (e *waitError) Unwrap() []error { return []error{ErrCommandTimeout, e.cause} }

// endOfWait turns the end of ctx during a wait into the documented error:
// a deadline is a timeout, a cancellation is just that.
func endOfWait(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return &waitError{ctx.Err()}
	}
	return ctx.Err()
}
