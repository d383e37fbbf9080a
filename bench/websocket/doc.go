// Command websocket measures what WebSocket libraries cost a server that holds
// many idle connections: process memory for each idle connection, and CPU time
// for each message out and in.
//
//	cd bench && go run ./websocket
//
// Every library is measured in fresh processes: a server that only holds its
// connections, and one that is all of its clients. Libraries take turns, round
// after round, and the medians are printed, as a table and as JSON. It uses the
// loopback interface only and stops by itself.
package main
