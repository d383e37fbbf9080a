package rest

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"time"
)

// Content types of bodies.
const (
	mediaJSON   = "application/json"
	mediaText   = "text/plain"
	mediaBinary = "application/octet-stream"
)

// contentType returns which of the three a body is, and what turns its
// characters into UTF-8.
func contentType(header http.Header) (media string, convert func([]byte) []byte, err error) {
	if encoding := header.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return "", nil, unsupportedMedia("The content encoding is not supported.")
	}
	values := header.Values("Content-Type")
	if len(values) == 0 || len(values) == 1 && strings.TrimSpace(values[0]) == "" {
		return mediaBinary, asIs, nil
	}
	media, parameters, err := mime.ParseMediaType(values[0])
	if err != nil || len(values) > 1 {
		return "", nil, unsupportedMedia("The content type is not valid.")
	}
	switch media {
	case mediaBinary:
		return media, asIs, nil
	case mediaJSON, mediaText:
	default:
		return "", nil, unsupportedMedia("The content type is not supported.")
	}
	convert, ok := charsets[strings.ToLower(parameters["charset"])]
	if !ok {
		return "", nil, unsupportedMedia("The charset is not supported.")
	}
	return media, convert, nil
}

// body reads the body within its limits of size and time.
func (c *call) body() ([]byte, error) {
	limit := int64(c.handler.opts.MaxBody)
	if c.r.ContentLength > limit {
		return nil, errTooLarge
	}
	if c.r.Body == nil || c.r.ContentLength == 0 {
		return []byte{}, nil
	}
	defer c.deadline()()
	var buf bytes.Buffer
	if c.r.ContentLength > 0 {
		buf.Grow(int(c.r.ContentLength) + bytes.MinRead)
	}
	_, err := buf.ReadFrom(http.MaxBytesReader(c.w, c.r.Body, limit))
	var tooLarge *http.MaxBytesError
	switch {
	case err == nil:
		return buf.Bytes(), nil
	case errors.As(err, &tooLarge):
		return nil, errTooLarge
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.w.Header().Set("Connection", "close")
		return nil, errSlowBody
	case errors.Is(err, io.ErrUnexpectedEOF):
		return nil, badRequest("", "The request body is incomplete.")
	default:
		return nil, badRequest("", "The request body cannot be read.")
	}
}

// deadline limits how long the body may take, where the server itself does
// not, and returns what lifts the limit again.
func (c *call) deadline() (lift func()) {
	server, _ := c.r.Context().Value(http.ServerContextKey).(*http.Server)
	if server != nil && server.ReadTimeout > 0 {
		return func() {}
	}
	control := http.NewResponseController(c.w)
	if control.SetReadDeadline(time.Now().Add(c.handler.opts.ReadTimeout)) != nil {
		return func() {} // not a connection
	}
	return func() { _ = control.SetReadDeadline(time.Time{}) }
}
