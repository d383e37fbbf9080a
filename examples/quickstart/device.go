package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
)

// device is a program of a user: any WebSocket client that speaks the Azure
// Web PubSub protocol will do, such as its official JavaScript client.
type device struct {
	conn         *websocket.Conn
	connectionID string
	sequenceID   uint64 // the last one received
}

// frame is what the node sends.
type frame struct {
	Type         string          `json:"type"`
	Event        string          `json:"event"`
	ConnectionID string          `json:"connectionId"`
	SequenceID   uint64          `json:"sequenceId"`
	Data         json.RawMessage `json:"data"`
	Success      bool            `json:"success"`
	Error        json.RawMessage `json:"error"`
}

// envelope is the data of a reliable message or a command.
type envelope struct {
	Kind      string          `json:"kind"`
	ID        string          `json:"id"`
	RequestID string          `json:"requestId"`
	Type      string          `json:"type"`
	Payload   json.RawMessage `json:"payload"`
}

func connect(ctx context.Context, url string) (*device, error) {
	conn, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{
		Subprotocols: []string{"json.reliable.webpubsub.azure.v1"},
	})
	if err != nil {
		return nil, fmt.Errorf("connect the device: %w", err)
	}
	d := &device{conn: conn}
	f, err := d.read(ctx, "system")
	if err != nil {
		return nil, err
	}
	d.connectionID = f.ConnectionID
	return d, nil
}

// leave closes the connection for good.
func (d *device) leave() { _ = d.conn.Close(websocket.StatusNormalClosure, "") }

// read returns the next frame of a type.
func (d *device) read(ctx context.Context, kind string) (frame, error) {
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

// next returns the data of the next message.
func (d *device) next(ctx context.Context) (json.RawMessage, error) {
	f, err := d.read(ctx, "message")
	return f.Data, err
}

func (d *device) nextEnvelope(ctx context.Context) (envelope, error) {
	var e envelope
	data, err := d.next(ctx)
	if err != nil {
		return e, err
	}
	return e, json.Unmarshal(data, &e)
}

// acknowledge confirms every message received so far.
func (d *device) acknowledge(ctx context.Context) error {
	return wsjson.Write(ctx, d.conn, map[string]any{"type": "sequenceAck", "sequenceId": d.sequenceID})
}

// answerNext waits for a command and answers it.
func (d *device) answerNext(ctx context.Context, answer any) error {
	e, err := d.nextEnvelope(ctx)
	if err != nil {
		return err
	}
	if e.Kind != "command" {
		return fmt.Errorf("message %s is no command", e.ID)
	}
	err = wsjson.Write(ctx, d.conn, map[string]any{
		"type": "event", "event": "response", "ackId": 1, "dataType": "json",
		"data": map[string]any{"requestId": e.RequestID, "data": answer},
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
