// Package device is a program of a user, for the examples: any WebSocket client
// that speaks the Azure Web PubSub protocol will do, such as its official
// JavaScript client.
package device

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
)

// Device is one connection. One goroutine uses it at a time.
type Device struct {
	conn *websocket.Conn
	// ID is the connection's.
	ID         string
	sequenceID uint64 // the last one received
	ackID      uint64 // the last one used
}

// Envelope is the data of a reliable message or a command.
type Envelope struct {
	Kind      string          `json:"kind"`
	ID        string          `json:"id"`
	RequestID string          `json:"requestId"`
	Type      string          `json:"type"`
	Payload   json.RawMessage `json:"payload"` // of a reliable message
	Data      json.RawMessage `json:"data"`    // of a command
}

// frame is what the node sends.
type frame struct {
	Type         string          `json:"type"`
	ConnectionID string          `json:"connectionId"`
	SequenceID   uint64          `json:"sequenceId"`
	Data         json.RawMessage `json:"data"`
	Success      bool            `json:"success"`
	Error        json.RawMessage `json:"error"`
}

// Connect opens a connection of the reliable subprotocol; header may be nil.
func Connect(ctx context.Context, url string, header http.Header) (*Device, error) {
	conn, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{
		Subprotocols: []string{"json.reliable.webpubsub.azure.v1"},
		HTTPHeader:   header,
	})
	if err != nil {
		return nil, fmt.Errorf("connect the device: %w", err)
	}
	d := &Device{conn: conn}
	f, err := d.read(ctx, "system")
	if err != nil {
		_ = conn.CloseNow()
		return nil, err
	}
	d.ID = f.ConnectionID
	return d, nil
}

// Leave closes the connection for good.
func (d *Device) Leave() { _ = d.conn.Close(websocket.StatusNormalClosure, "") }

// read returns the next frame of a type.
func (d *Device) read(ctx context.Context, kind string) (frame, error) {
	for {
		var f frame
		if err := wsjson.Read(ctx, d.conn, &f); err != nil {
			return f, fmt.Errorf("read from the node: %w", err)
		}
		if f.SequenceID > 0 {
			d.sequenceID = f.SequenceID
		}
		if f.Type == kind {
			return f, nil
		}
	}
}

// Next waits for the next message and returns its data: the payload of a
// realtime message as it is.
func (d *Device) Next(ctx context.Context) (json.RawMessage, error) {
	f, err := d.read(ctx, "message")
	return f.Data, err
}

// Envelope waits for the next message, which must be reliable or a command.
func (d *Device) Envelope(ctx context.Context) (Envelope, error) {
	var e Envelope
	data, err := d.Next(ctx)
	if err != nil {
		return e, err
	}
	return e, json.Unmarshal(data, &e)
}

// Acknowledge confirms every message received so far.
func (d *Device) Acknowledge(ctx context.Context) error {
	return wsjson.Write(ctx, d.conn, map[string]any{"type": "sequenceAck", "sequenceId": d.sequenceID})
}

// Answer answers a command.
func (d *Device) Answer(ctx context.Context, command Envelope, answer any) error {
	return d.respond(ctx, map[string]any{"requestId": command.RequestID, "data": answer})
}

// Refuse answers a command with an error.
func (d *Device) Refuse(ctx context.Context, command Envelope, code, message string) error {
	return d.respond(ctx, map[string]any{
		"requestId": command.RequestID, "error": map[string]string{"code": code, "message": message},
	})
}

// respond waits until the node has the answer.
func (d *Device) respond(ctx context.Context, response any) error {
	d.ackID++
	err := wsjson.Write(ctx, d.conn, map[string]any{
		"type": "event", "event": "response", "ackId": d.ackID, "dataType": "json", "data": response,
	})
	if err != nil {
		return err
	}
	ack, err := d.read(ctx, "ack")
	if err == nil && !ack.Success {
		err = fmt.Errorf("the node refused the answer: %s", ack.Error)
	}
	return err
}
