package gateway

import (
	"fmt"
	"time"

	"github.com/message-gateway/gateway/internal/odata"
	"github.com/message-gateway/gateway/internal/protocol"
)

// Limits bound what names, metadata and filters may be, wherever they come
// from: the calls of a Client, the frames and tokens of devices, and REST. A
// node and a rest.Handler take them from the client that they are built on, so
// that an installation has them in one place: give all its processes the same.
// What a node holds for its devices is bound by node.Options, and how much REST
// takes at once by rest.Options.
//
// Zero means the default in every field, which is the limit of Azure Web
// PubSub unless the field says otherwise. None can be turned off.
type Limits struct {
	// HubName is the most characters of a hub, 1024 at most. A longer one is
	// ErrInvalidHub, and 400 in a handshake or over REST. Default: 128.
	HubName int
	// GroupName is the most characters of a group, 4096 at most. A longer one
	// is ErrInvalidGroup, closes the connection of the device that sent it with
	// 1007, and is 400 in a token or over REST. Default: 1024.
	GroupName int
	// EventName is the most characters of an event, 1024 at most. A longer one
	// closes the connection of the device with 1007. Default: 128.
	EventName int
	// MetadataName and MetadataValue are the most bytes of one name and one
	// value of metadata, Metadata those of all together, 64 KiB at most each.
	// More is an ErrInvalidArgument, 1007 for a device and 400 over REST.
	// Default: 256 bytes, 1024 bytes and 8 KiB.
	MetadataName, MetadataValue, Metadata int
	// MessageTTL is the longest time to live of a message, in whole seconds, a
	// day at most. More is ErrInvalidTimeout, 1007 for a device and 400 over
	// REST. Default: 300 s.
	MessageTTL time.Duration
	// FilterBytes, FilterClauses and FilterDepth bound a filter: its length (1
	// MiB at most), its comparisons, and as well the operands of and/or (1000
	// at most), and how deep parentheses, calls and not are nested (1000 at
	// most). More is ErrInvalidFilter, and 400 over REST. Default: 64 KiB, which
	// is a limit of ours, 100 and 100.
	FilterBytes, FilterClauses, FilterDepth int
	// Page is the most connections in one page of a list, 10,000 at most, and
	// the size of pages whose caller names none. More is ErrInvalidQuery, and
	// 400 over REST. Default: 200.
	Page int
}

// DefaultLimits are the limits that hold where Config.Limits sets none.
func DefaultLimits() Limits {
	p, f := protocol.DefaultLimits(), odata.DefaultLimits()
	return Limits{
		HubName: p.Hub, GroupName: p.Group, EventName: p.Event,
		MetadataName: p.MetadataKey, MetadataValue: p.MetadataValue, Metadata: p.Metadata,
		MessageTTL:  time.Duration(p.TTLSeconds) * time.Second,
		FilterBytes: f.Length, FilterClauses: f.Clauses, FilterDepth: f.Depth,
		Page: 200,
	}
}

func (l Limits) withDefaults() Limits {
	d := DefaultLimits()
	return Limits{
		HubName: or(l.HubName, d.HubName), GroupName: or(l.GroupName, d.GroupName), EventName: or(l.EventName, d.EventName),
		MetadataName: or(l.MetadataName, d.MetadataName), MetadataValue: or(l.MetadataValue, d.MetadataValue), Metadata: or(l.Metadata, d.Metadata),
		MessageTTL:  or(l.MessageTTL, d.MessageTTL),
		FilterBytes: or(l.FilterBytes, d.FilterBytes), FilterClauses: or(l.FilterClauses, d.FilterClauses), FilterDepth: or(l.FilterDepth, d.FilterDepth),
		Page: or(l.Page, d.Page),
	}
}

// The largest values of limits. A path of REST with a group whose every byte is
// escaped must stay below what rest takes; metadata travel in headers.
const (
	largestName     = 1024
	largestGroup    = 4096
	largestMetadata = 64 << 10
	largestTTL      = 24 * time.Hour
	largestPage     = 10_000
)

// validate reports limits that are out of bounds, under the names of the
// variables that LoadConfig reads.
func (l Limits) validate(v *problems) {
	filter := odata.MaxLimits()
	for _, limit := range []struct {
		name           string
		value, largest int
	}{
		{"MSG_LIMIT_HUB_NAME", l.HubName, largestName},
		{"MSG_LIMIT_GROUP_NAME", l.GroupName, largestGroup},
		{"MSG_LIMIT_EVENT_NAME", l.EventName, largestName},
		{"MSG_LIMIT_METADATA_NAME", l.MetadataName, largestMetadata},
		{"MSG_LIMIT_METADATA_VALUE", l.MetadataValue, largestMetadata},
		{"MSG_LIMIT_METADATA", l.Metadata, largestMetadata},
		{"MSG_LIMIT_FILTER_BYTES", l.FilterBytes, filter.Length},
		{"MSG_LIMIT_FILTER_CLAUSES", l.FilterClauses, filter.Clauses},
		{"MSG_LIMIT_FILTER_DEPTH", l.FilterDepth, filter.Depth},
		{"MSG_LIMIT_PAGE", l.Page, largestPage},
	} {
		v.check(limit.name, limit.value >= 1 && limit.value <= limit.largest, fmt.Sprintf("is not between 1 and %d", limit.largest))
	}
	v.check("MSG_LIMIT_MESSAGE_TTL", l.MessageTTL >= time.Second && l.MessageTTL <= largestTTL && l.MessageTTL%time.Second == 0,
		fmt.Sprintf("is not in whole seconds between 1s and %v", largestTTL))
}

// protocol are the limits that frames and names have.
func (l Limits) protocol() protocol.Limits {
	return protocol.Limits{
		Hub: l.HubName, Group: l.GroupName, Event: l.EventName,
		MetadataKey: l.MetadataName, MetadataValue: l.MetadataValue, Metadata: l.Metadata,
		TTLSeconds: int(l.MessageTTL / time.Second),
	}
}

func (l Limits) filter() odata.Limits {
	return odata.Limits{Length: l.FilterBytes, Clauses: l.FilterClauses, Depth: l.FilterDepth}
}
