package main

import (
	"fmt"
	"strings"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/bus/redisbus"
	"github.com/message-gateway/gateway/internal/store"
	"github.com/message-gateway/gateway/internal/store/sqlstore"
)

// packetSlack is what a statement needs beside the payload, which may double
// when it is quoted.
const packetSlack = 64 << 10

// judgeMySQL turns what is known of MySQL into checks.
func judgeMySQL(cfg gateway.Config, facts sqlstore.Facts) []check {
	f := &findings{area: areaMySQL}
	if facts.Err != nil {
		f.fail("reachable", facts.Err.Error(), mysqlAdvice(cfg, facts))
		return f.checks
	}
	f.ok("reachable", "%v", cfg.MySQL)
	v := facts.Variables
	judgeMySQLVersion(f, v["version"], v["version_comment"])
	if v["read_only"] == "ON" || v["read_only"] == "1" {
		f.fail("role", "the server is read only", "use the address of the primary")
	}
	judgeDurability(f, v)
	judgePacket(f, v["max_allowed_packet"], cfg.MaxPayload)
	switch isolation := strings.ToUpper(or(v["transaction_isolation"], v["tx_isolation"])); isolation {
	case "READ-COMMITTED", "REPEATABLE-READ":
		f.ok("isolation", "%s", isolation)
	case "SERIALIZABLE":
		f.warn("isolation", isolation+" makes readers wait for writers", "SET GLOBAL transaction_isolation = 'READ-COMMITTED', and the same in the server's file")
	default:
		f.warn("isolation", or(isolation, "unknown"), "SET GLOBAL transaction_isolation = 'READ-COMMITTED', and the same in the server's file")
	}
	judgeConnections(f, v, cfg.MySQL.MaxOpenConns)
	judgeZone(f, v, facts.Schema.Foreign)
	judgeClock(f, cfg.MySQL.Addr, facts.Ahead, facts.RoundTrip)
	judgeSchema(f, facts.Schema, facts.SchemaErr)
	switch {
	case facts.UseErr != nil:
		f.fail("rights", facts.UseErr.Error(), fmt.Sprintf("GRANT SELECT, INSERT, UPDATE, DELETE ON `%s`.* TO the account; to migrate it needs CREATE and INDEX, too", cfg.MySQL.DB))
	case !facts.Schema.Ready():
		f.unknown("rights", "there is no table to try them on", "migrate first")
	default:
		f.ok("rights", "insert, read, change and delete")
	}
	return f.checks
}

func mysqlAdvice(cfg gateway.Config, facts sqlstore.Facts) string {
	switch facts.Code {
	case 1045, 1698:
		return "check MSG_MYSQL_USER and MSG_MYSQL_PASSWORD, and from which hosts the account may connect"
	case 1044:
		return fmt.Sprintf("GRANT SELECT, INSERT, UPDATE, DELETE ON `%s`.* TO the account, or check MSG_MYSQL_DB", cfg.MySQL.DB)
	case 1049:
		return fmt.Sprintf("CREATE DATABASE `%s` CHARACTER SET utf8mb4, or check MSG_MYSQL_DB", cfg.MySQL.DB)
	case 1040, 1203:
		return "too many connections: raise max_connections, or lower MSG_MYSQL_MAX_OPEN_CONNS of services and nodes"
	case 1129, 1130:
		return "the server does not let this machine in: look at the hosts of the account, and run FLUSH HOSTS where it is blocked"
	default:
		return networkAdvice(facts.Err, "MySQL", "MSG_MYSQL_HOST and MSG_MYSQL_PORT", "MSG_MYSQL_TLS")
	}
}

func judgeMySQLVersion(f *findings, version, comment string) {
	text := strings.TrimSpace(version + " " + comment)
	maria := strings.Contains(version, "MariaDB")
	switch {
	case maria && olderThan(version, 10, 5):
		f.warn("version", text+" is not tested", "use MariaDB 10.6 or newer")
	case !maria && olderThan(version, 8, 0):
		f.warn("version", text+" is not tested", "use MySQL 8.0 or newer")
	default:
		f.ok("version", "%s", text)
	}
}

// judgeDurability: a message whose send returned must outlive a power failure.
func judgeDurability(f *findings, v map[string]string) {
	if flush := v["innodb_flush_log_at_trx_commit"]; flush != "1" {
		f.warn("durability", "innodb_flush_log_at_trx_commit is "+flush+": a crash of the machine loses messages of the last second whose send succeeded",
			"SET GLOBAL innodb_flush_log_at_trx_commit = 1, and the same in the server's file")
	} else {
		f.ok("durability", "innodb_flush_log_at_trx_commit is 1")
	}
	binlog := v["log_bin"] == "ON" || v["log_bin"] == "1"
	switch {
	case !binlog:
		f.ok("binary log", "off: there are no replicas to fail over to")
	case v["sync_binlog"] != "1":
		f.warn("binary log", "sync_binlog is "+v["sync_binlog"]+": replicas can miss messages after a crash", "SET GLOBAL sync_binlog = 1, and the same in the server's file")
	default:
		f.ok("binary log", "sync_binlog is 1")
	}
}

func judgePacket(f *findings, value string, maxPayload int) {
	if maxPayload == 0 {
		maxPayload = gateway.DefaultMaxPayload
	}
	packet, needed := redisbus.Number(value), int64(2*maxPayload+packetSlack)
	text := fmt.Sprintf("max_allowed_packet is %d bytes", packet)
	if packet < needed {
		f.fail("packet size", fmt.Sprintf("%s; a payload of MSG_MAX_PAYLOAD (%d) can need %d", text, maxPayload, needed),
			"SET GLOBAL max_allowed_packet = 67108864, and the same in the server's file; or lower MSG_MAX_PAYLOAD")
		return
	}
	f.ok("packet size", "%s", text)
}

func judgeConnections(f *findings, v map[string]string, pool int) {
	if pool == 0 {
		pool = 32
	}
	most, used := redisbus.Number(v["max_connections"]), redisbus.Number(v["Threads_connected"])
	text := fmt.Sprintf("%d of %d are in use, and this node takes up to %d", used, most, pool)
	if most-used < int64(pool) {
		f.warn("connections", text, "raise max_connections, or lower MSG_MYSQL_MAX_OPEN_CONNS")
		return
	}
	f.ok("connections", "%s", text)
}

// judgeZone: our own sessions are in UTC. Those of another SDK may not be.
func judgeZone(f *findings, v map[string]string, foreign bool) {
	zone := v["time_zone"]
	if zone == "SYSTEM" {
		zone = v["system_time_zone"]
	}
	switch zone {
	case "UTC", "+00:00", "Etc/UTC", "GMT":
		f.ok("time zone", "UTC")
		return
	}
	if foreign {
		f.warn("time zone", "the server's is "+zone+", and another SDK created the table: it may write local times, which nodes read as UTC",
			"SET GLOBAL time_zone = '+00:00' and default-time-zone in the server's file, or make sure that the other SDK's sessions use UTC")
		return
	}
	f.ok("time zone", "the server's is %s; sessions of nodes and clients use UTC", zone)
}

func judgeSchema(f *findings, s store.Schema, err error) {
	switch {
	case err != nil:
		f.unknown("schema", err.Error(), "let the account read information_schema")
	case !s.Exists:
		f.fail("schema", "the table push_messages does not exist", "gatewayd migrate, or serve --migrate")
	case len(s.MissingColumns) > 0:
		f.fail("schema", "push_messages was created by somebody else and lacks the columns "+strings.Join(s.MissingColumns, ", "),
			"add them with the SDK that owns the table, or use another database (MSG_MYSQL_DB)")
	case len(s.MissingIndexes) > 0:
		f.warn("schema", fmt.Sprintf("push_messages lacks indexes on (%s): nodes work, and become slow as the table grows", strings.Join(s.MissingIndexes, "), (")),
			"gatewayd migrate; it adds indexes only")
	case len(s.Pending) > 0 && !s.Foreign:
		f.warn("schema", fmt.Sprintf("migrations %v were not applied", s.Pending), "gatewayd migrate")
	case s.Foreign:
		f.ok("schema", "created by another SDK, complete")
	default:
		f.ok("schema", "version %d", s.Versions[len(s.Versions)-1])
	}
	if len(s.IgnoringCase) > 0 {
		f.warn("ids", "the collation of "+strings.Join(s.IgnoringCase, " and ")+` ignores case: a message with the id "A" is refused after "a"`,
			"use ids that differ in more than case, as UUIDs do")
	}
}
