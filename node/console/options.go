package console

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// MinToken is the least length of Options.Token in bytes.
const MinToken = 32

// Options say how a console behaves. Zero means the default in every field but
// Token.
type Options struct {
	// Token is what people type in to see the console, and what programs send
	// as "Authorization: Bearer". Who has it sees user ids and payloads, and
	// sends to every user. At least MinToken bytes, not an access key, and the
	// same on all nodes behind one address. Required.
	Token string
	// Path is where the console is, with a slash at both ends. Default:
	// "/console/".
	Path string
	// SessionLifetime is how long a browser stays signed in. Changing the Token
	// ends every session. Default: 12 h.
	SessionLifetime time.Duration
}

// ErrInvalidOptions is returned by New for options out of bounds.
var ErrInvalidOptions = errors.New("invalid options")

// String shows everything but the token.
func (o Options) String() string { return fmt.Sprintf("console at %s", o.withDefaults().Path) }

func (o Options) withDefaults() Options {
	if o.Path == "" {
		o.Path = "/console/"
	}
	if o.SessionLifetime == 0 {
		o.SessionLifetime = 12 * time.Hour
	}
	return o
}

func (o Options) validate() error {
	if len(o.Token) < MinToken {
		return fmt.Errorf("%w: Token has %d bytes, it needs %d", ErrInvalidOptions, len(o.Token), MinToken)
	}
	if len(o.Path) < 3 || !strings.HasPrefix(o.Path, "/") || !strings.HasSuffix(o.Path, "/") {
		return fmt.Errorf("%w: Path %q does not begin and end with a slash around a name", ErrInvalidOptions, o.Path)
	}
	if o.SessionLifetime < 0 {
		return fmt.Errorf("%w: SessionLifetime is negative", ErrInvalidOptions)
	}
	return nil
}
