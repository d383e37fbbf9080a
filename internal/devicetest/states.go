package devicetest

import (
	"encoding/json"
	"fmt"
	"testing"

	pb "github.com/message-gateway/gateway/internal/protocol/webpubsubpb"
)

// The types of the frames of group states.
const (
	TypeStateSnapshot = "groupStateSnapshot"
	TypeStateUpdate   = "groupStateUpdate"
)

// StateItem is the state of one member of a group; a nil State is none.
type StateItem struct {
	ConnectionID string            `json:"connectionId"`
	UserID       string            `json:"userId"`
	State        map[string]string `json:"state"`
	UpdatedAt    int64             `json:"updatedAt"`
}

func (f *Frame) setItems(group string, sequenceID uint64, items []*pb.DownstreamMessage_GroupStateItem) {
	f.Group, f.SequenceID = group, sequenceID
	for _, item := range items {
		out := StateItem{ConnectionID: item.GetConnectionId(), UserID: item.GetUserId(), UpdatedAt: item.GetUpdatedAt()}
		if item.State != nil {
			out.State = map[string]string{}
			for key, value := range item.State.GetEntries() {
				out.State[key] = value
			}
		}
		f.Items = append(f.Items, out)
	}
}

// SetState sets the state of the device in a group, or clears it if it is nil,
// and returns the acknowledgement.
func (d *Device) SetState(t testing.TB, group string, state map[string]string) Frame {
	t.Helper()
	id := d.NextAckID()
	d.PostState(t, group, state, id)
	return d.AckOf(t, *id)
}

// PostState is SetState that waits for nothing.
func (d *Device) PostState(t testing.TB, group string, state map[string]string, ackID *uint64) {
	t.Helper()
	if d.protobuf() {
		up := &pb.UpstreamMessage_SetGroupState{Group: group, AckId: ackID}
		if state != nil {
			up.State = &pb.GroupState{Entries: state}
		}
		d.SendProtobuf(t, &pb.UpstreamMessage{Message: &pb.UpstreamMessage_SetGroupState_{SetGroupState: up}})
		return
	}
	raw, _ := json.Marshal(state) // strings always encode
	d.SendText(t, fmt.Sprintf(`{"type":"setGroupState","group":%s,"state":%s%s}`, quote(group), raw, jsonAckID(ackID)))
}

// WatchStates asks for the states in a group, and returns the acknowledgement.
func (d *Device) WatchStates(t testing.TB, group string) Frame {
	t.Helper()
	id := d.NextAckID()
	d.PostWatchStates(t, group, id)
	return d.AckOf(t, *id)
}

// PostWatchStates is WatchStates that waits for nothing.
func (d *Device) PostWatchStates(t testing.TB, group string, ackID *uint64) {
	t.Helper()
	if d.protobuf() {
		d.SendProtobuf(t, &pb.UpstreamMessage{Message: &pb.UpstreamMessage_SubscribeGroupState_{
			SubscribeGroupState: &pb.UpstreamMessage_SubscribeGroupState{Group: group, AckId: ackID},
		}})
		return
	}
	d.SendText(t, fmt.Sprintf(`{"type":"subscribeGroupState","group":%s%s}`, quote(group), jsonAckID(ackID)))
}

// UnwatchStates ends WatchStates, and returns the acknowledgement.
func (d *Device) UnwatchStates(t testing.TB, group string) Frame {
	t.Helper()
	id := d.NextAckID()
	if d.protobuf() {
		d.SendProtobuf(t, &pb.UpstreamMessage{Message: &pb.UpstreamMessage_UnsubscribeGroupState_{
			UnsubscribeGroupState: &pb.UpstreamMessage_UnsubscribeGroupState{Group: group, AckId: id},
		}})
	} else {
		d.SendText(t, fmt.Sprintf(`{"type":"unsubscribeGroupState","group":%s%s}`, quote(group), jsonAckID(id)))
	}
	return d.AckOf(t, *id)
}
