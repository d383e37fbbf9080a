package rest

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/message-gateway/gateway"
)

func (c *call) sendToAll() (answer, error) {
	return c.send(c.hub.SendToAll, excluded, c.filter, c.messageTTL)
}

func (c *call) sendToGroup() (answer, error) {
	return c.send(func(ctx context.Context, payload any, opts ...gateway.HubOption) error {
		return c.hub.SendToGroup(ctx, c.group, payload, opts...)
	}, excluded, c.filter, c.messageTTL)
}

func (c *call) sendToUser() (answer, error) {
	return c.send(func(ctx context.Context, payload any, opts ...gateway.HubOption) error {
		return c.hub.SendToUser(ctx, c.user, payload, opts...)
	}, c.filter, c.messageTTL)
}

func (c *call) sendToConnection() (answer, error) {
	return c.send(func(ctx context.Context, payload any, opts ...gateway.HubOption) error {
		return c.hub.SendToConnection(ctx, c.connection, payload, opts...)
	}, c.messageTTL)
}

// maxRequestID bounds the ids that make a send safe to repeat. A longer one is
// no mistake: clients choose them for their logs.
const maxRequestID = 256

// send sends the body with the options of the query. A target that is not
// there is no error. Official clients repeat a send that they have no good
// answer to, with the same id of the request: nodes that have it then drop it.
func (c *call) send(deliver func(ctx context.Context, payload any, opts ...gateway.HubOption) error, read ...option) (answer, error) {
	opts, err := c.query.options(read...)
	if err != nil {
		return answer{}, err
	}
	metadata, err := c.readMetadata()
	if err != nil {
		return answer{}, err
	}
	if len(metadata) > 0 {
		opts = append(opts, gateway.WithMetadata(metadata))
	}
	if id := c.r.Header.Get("X-Ms-Client-Request-Id"); id != "" && len(id) <= maxRequestID {
		opts = append(opts, gateway.WithIdempotencyKey(id))
	}
	payload, err := c.payload()
	if err != nil {
		return answer{}, err
	}
	ctx, cancel := c.limited()
	defer cancel()
	if err := deliver(ctx, payload, opts...); err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusAccepted}, nil
}

func (c *call) messageTTL(q query) (gateway.HubOption, error) {
	seconds, err := q.number("messageTtlSeconds", 0, c.limits().TTLSeconds, 0)
	if err != nil || seconds == 0 {
		return nil, err
	}
	return gateway.WithMessageTTL(time.Duration(seconds) * time.Second), nil
}

const metadataPrefix = "X-Webpubsub-Metadata-"

// readMetadata takes the metadata from the headers. The last of several with
// the same name counts.
func (c *call) readMetadata() (map[string]string, error) {
	var metadata map[string]string
	for name, values := range c.r.Header {
		if len(name) < len(metadataPrefix) || !strings.EqualFold(name[:len(metadataPrefix)], metadataPrefix) || len(values) == 0 {
			continue
		}
		if metadata == nil {
			metadata = map[string]string{}
		}
		metadata[strings.ToLower(name[len(metadataPrefix):])] = strings.TrimSpace(values[len(values)-1])
	}
	if err := c.limits().ValidateMetadata(metadata); err != nil {
		return nil, badRequest("metadata", "Invalid metadata: "+err.Error()+".")
	}
	return metadata, nil
}

// payload reads the body as the payload that its content type says.
func (c *call) payload() (any, error) {
	media, convert, err := contentType(c.r.Header)
	if err != nil {
		return nil, err
	}
	body, err := c.body()
	if err != nil {
		return nil, err
	}
	switch media {
	case mediaJSON:
		if body = convert(body); !json.Valid(body) || !utf8.Valid(body) {
			return nil, badRequest("", "The request body is not a valid JSON.")
		}
		return json.RawMessage(body), nil
	case mediaText:
		return gateway.Text(convert(body)), nil
	default:
		return gateway.Binary(body), nil
	}
}
