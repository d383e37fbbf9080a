package rest

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/message-gateway/gateway"
)

// Codes of errors. The first four are those of the service; the others are
// ours, where the service has none.
const (
	codeBadRequest        = "Error.BadRequest"
	codeConnectionMissing = "Error.Connection.NotExisted" // adding to a group
	codeGrantMissing      = "Info.Connection.NotExisted"  // permissions
	codeConflict          = "Error.Connection.Conflict"

	codeUserMissing      = "Error.User.NotExisted"
	codeNoRoute          = "Error.NotFound"
	codeMethodNotAllowed = "Error.MethodNotAllowed"
	codeRequestTimeout   = "Error.RequestTimeout"
	codeTooLarge         = "Error.PayloadTooLarge"
	codeURITooLong       = "Error.UriTooLong"
	codeUnsupportedMedia = "Error.UnsupportedMediaType"
	codeThrottled        = "Error.TooManyRequests"
	codeNotImplemented   = "Error.NotImplemented"
	codeInternal         = "Error.InternalServerError"
	codeUnavailable      = "Error.ServiceUnavailable"
)

// problem is an answer that says what is wrong. Its texts are for the caller.
type problem struct {
	status  int
	code    string
	message string
	// target is what is wrong; empty is null.
	target string
	// allow are the methods for a 405.
	allow []string
	// retry says that the caller may repeat the call soon.
	retry bool
	// missing says that nothing is wrong with the call, only that what it
	// names is not there, or full.
	missing bool
	// cause is for the log only.
	cause error
}

// Error is the text for the caller.
func (p *problem) Error() string { return p.message }

var (
	errUnauthorized = &problem{status: http.StatusUnauthorized}
	errNoRoute      = &problem{status: http.StatusNotFound, code: codeNoRoute, message: "There is no such operation."}
	errURITooLong   = &problem{status: http.StatusRequestURITooLong, code: codeURITooLong, message: "The path is too long."}
	errBusy         = &problem{status: http.StatusTooManyRequests, code: codeThrottled, message: "Too many calls at the same time.", retry: true}
	errTooLarge     = &problem{status: http.StatusRequestEntityTooLarge, code: codeTooLarge, message: "The request body is too large."}
	errSlowBody     = &problem{status: http.StatusRequestTimeout, code: codeRequestTimeout, message: "The request body did not arrive in time."}
)

func badRequest(target, message string) *problem {
	return &problem{status: http.StatusBadRequest, code: codeBadRequest, message: message, target: target}
}

func methodNotAllowed(allowed []string) *problem {
	return &problem{status: http.StatusMethodNotAllowed, code: codeMethodNotAllowed, message: "The method is not allowed here.", allow: allowed}
}

func unsupportedMedia(message string) *problem {
	return &problem{status: http.StatusUnsupportedMediaType, code: codeUnsupportedMedia, message: message}
}

func connectionMissing(code, id string) *problem {
	return &problem{
		status: http.StatusNotFound, code: code, missing: true,
		message: "Connection `" + id + "` is not found.", target: "Connection",
	}
}

// unavailable is for what did not happen, or may be repeated.
func unavailable(cause error) *problem {
	return &problem{
		status: http.StatusServiceUnavailable, code: codeUnavailable, retry: true,
		message: "The service is not available at the moment.", cause: cause,
	}
}

// problem turns an error of a hub into an answer. Operations have turned those
// that mean something special for them.
func (c *call) problem(err error) *problem {
	var p *problem
	switch {
	case errors.As(err, &p):
		return p
	case errors.Is(err, gateway.ErrPayloadTooLarge):
		return errTooLarge
	case errors.Is(err, gateway.ErrInvalidArgument):
		// What the checks here leave to the hub; its text is about arguments only.
		_, text, _ := strings.Cut(err.Error(), ": ")
		return badRequest("", text)
	case errors.Is(err, gateway.ErrOverloaded):
		return errBusy
	case errors.Is(err, gateway.ErrClosed), !c.route.send:
		return unavailable(err)
	default:
		return &problem{status: http.StatusInternalServerError, code: codeInternal, message: "The message may not have been sent.", cause: err}
	}
}

// fail answers with an error.
func (c *call) fail(err error) {
	p := c.problem(err)
	switch {
	case p.missing:
	case p.cause == nil:
		c.countRefused(p.status)
	case c.r.Context().Err() == nil: // else the caller went away, which is no fault of ours
		c.handler.opts.Logger.Warn("REST call failed", "method", c.r.Method, "operation", c.route.path, "hub", c.hubName, "status", p.status, "error", p.cause)
	}
	header := c.w.Header()
	if p.retry {
		header.Set("Retry-After", "1")
	}
	if len(p.allow) > 0 {
		header.Set("Allow", strings.Join(p.allow, ", "))
	}
	if p.code == "" {
		header.Set("WWW-Authenticate", "Bearer")
		c.w.WriteHeader(p.status)
		return
	}
	header.Set("X-Ms-Error-Code", p.code)
	body := errorBody{Code: p.code, Message: strings.ToValidUTF8(p.message, "\uFFFD")}
	if p.target != "" {
		body.Target = &p.target
	}
	writeAnswer(c.w, c.r, answer{status: p.status, body: body})
}

// errorBody is flat: official clients read code and message from here.
type errorBody struct {
	Code       string  `json:"code"`
	Message    string  `json:"message"`
	Target     *string `json:"target"`
	Details    any     `json:"details"`
	InnerError any     `json:"innererror"`
}

// answer is a status, and a body unless that is nil.
type answer struct {
	status int
	body   any
}

func writeAnswer(w http.ResponseWriter, r *http.Request, a answer) {
	if a.body == nil {
		w.WriteHeader(a.status)
		return
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(a.body) // strings always encode
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(a.status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(bytes.TrimSuffix(buf.Bytes(), []byte{'\n'}))
	}
}
