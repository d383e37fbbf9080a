package main

import "context"

// row is one row of the table; -run picks it by its name.
type row struct {
	name string
	// counts says what an operation is.
	counts string
	run    func(ctx context.Context, b *bench) ([]line, error)
}

// rows are those of the table, in its order.
func rows() []row {
	return []row{
		{"realtime-256", "SendRealtime calls that returned, 256 callers, 1,000 users without connections, 200 bytes", realtime256},
		{"realtime-1", "one SendRealtime call after another", realtime1},
		{"reliable-256", "SendReliable calls that returned, 256 callers, 1,000 users whose hints a subscriber takes, 200 bytes", reliable256},
		{"reliable-256-offline", "the same with nobody online: each message is also a RabbitMQ notification", reliable256Offline},
		{"reliable-1", "one SendReliable call after another, hints taken", reliable1},
		{"delivery-1000", "messages whose row says FINISHED after a device acknowledged them, 256 callers, 1,000 users online", delivery1000},
		{"command-1", "one SendCommand after another, until the answer is back, a device that answers at once", command1},
		{"command-256", "the same, 256 callers, 256 users", command256},
		{"group-10000", "deliveries of SendToGroup to 10,000 connections of one node, the next when all have this one", group10000},
		{"memory-15000", "resident memory of the server for each idle connection", memory15000},
		{"catchup-1000", "a user returns to 1,000 waiting messages: dial until the last one is received", catchup1000},
		{"coldstart", "start of the quickstart's process to its first message received, embedded", coldstart},
		{"embedded-1", "one embedded SendReliable after another", embedded1},
		{"embedded-256", "embedded SendReliable calls that returned, 256 callers", embedded256},
	}
}

// roles are what this program does as a child process.
func roles() map[string]func(args []string) error {
	return map[string]func(args []string) error{
		"devices": devicesRole, "server": serverRole, "responder": responderRole,
	}
}
