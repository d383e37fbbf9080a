package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/bus/redisbus"
)

// Bounds of settings of Redis.
const (
	maxKeepAlive    = 120      // seconds
	minPubSubBuffer = 32 << 20 // bytes, the default
)

// judgeRedis turns what is known of Redis into checks.
func judgeRedis(cfg gateway.Config, facts redisbus.Facts) []check {
	f := &findings{area: areaRedis}
	where := cfg.Redis.String()
	if facts.Err != nil {
		f.fail("reachable", facts.Err.Error(), redisAdvice(facts.Err))
		return f.checks
	}
	f.ok("reachable", "%s", where)
	for _, s := range facts.Servers {
		judgeRedisServer(f, cfg, s)
	}
	if facts.UseErr != nil {
		f.fail("rights", facts.UseErr.Error(), "let the account use all commands on the keys seq:user:*, gateway:* and on all channels: "+
			"ACL SETUSER <user> +@all ~<prefix>* &<prefix>*")
	} else {
		f.ok("rights", "subscribe, publish, lock")
	}
	return f.checks
}

func redisAdvice(err error) string {
	text := err.Error()
	switch {
	case strings.Contains(text, "NOAUTH"), strings.Contains(text, "WRONGPASS"), strings.Contains(text, "invalid password"),
		strings.Contains(text, "without any password configured"):
		return "check MSG_REDIS_USER and MSG_REDIS_PASSWORD"
	case strings.Contains(text, "cluster support disabled"):
		return "the server is no cluster: unset MSG_REDIS_CLUSTER"
	case strings.Contains(text, "NOPERM"):
		return "let the account use INFO, TIME, PING, HELLO and CLIENT: ACL SETUSER <user> +@all"
	case strings.Contains(text, "DB index is out of range"), strings.Contains(text, "SELECT is not allowed"):
		return "check MSG_REDIS_DB"
	default:
		return networkAdvice(err, "Redis", "MSG_REDIS_HOST and MSG_REDIS_PORT (or MSG_REDIS_ADDRS)", "MSG_REDIS_TLS")
	}
}

// networkAdvice is what to do about an address that cannot be reached.
func networkAdvice(err error, service, variables, tlsVariable string) string {
	var name *net.DNSError
	text := err.Error()
	switch {
	case errors.As(err, &name), strings.Contains(text, "no such host"):
		return "the name is not known here: check " + variables
	case strings.Contains(text, "refused"):
		return "nothing listens there: start " + service + ", or check " + variables
	case strings.Contains(text, "certificate"), strings.Contains(text, "tls:"):
		return "check " + tlsVariable + ", MSG_TLS_CA, MSG_TLS_CERT and MSG_TLS_KEY: the names in the server's certificate, who signed it, and whether the port speaks TLS"
	case errors.Is(err, context.DeadlineExceeded), strings.Contains(text, "timeout"), strings.Contains(text, "EOF"), strings.Contains(text, "reset"):
		return "no usable answer in time: check firewalls and the load of " + service + ", whether " + variables + " are right, and whether the port wants TLS (" + tlsVariable + ")"
	default:
		return "check " + variables + ", the network, and the log of " + service
	}
}

func judgeRedisServer(f *findings, cfg gateway.Config, s redisbus.ServerFacts) {
	version := s.Info["redis_version"]
	f.ok("server", "%s: version %s, %s, %s", s.Addr, version, or(s.Info["redis_mode"], "standalone"), or(s.Info["role"], "role unknown"))
	switch {
	case version == "":
		f.unknown("version", "the server does not tell", "use Redis 6.2 or newer, or what is compatible with it; a cluster needs 7.0")
	case cfg.Redis.Cluster && olderThan(version, 7, 0):
		f.fail("version", version+" has no sharded publish and subscribe", "use Redis 7.0 or newer for a cluster")
	case olderThan(version, 6, 2):
		f.warn("version", version+" is not tested", "use Redis 6.2 or newer")
	}
	if s.Info["cluster_enabled"] == "1" && !cfg.Redis.Cluster {
		f.fail("cluster", "the server belongs to a cluster, and the configuration does not say so", "set MSG_REDIS_CLUSTER=true")
	}
	if s.Info["role"] == "slave" {
		f.fail("role", "the server is a replica: counters cannot be advanced there", "use the address of the master, or MSG_REDIS_SENTINEL_MASTER")
	}
	judgeClock(f, s.Addr, s.Ahead, s.RoundTrip)
	if s.Settings == nil {
		f.unknown("settings", fmt.Sprintf("the server does not tell them: %v", s.SettingsErr),
			"look at the provider's console for maxmemory-policy (noeviction), tcp-keepalive (60) and client-output-buffer-limit pubsub")
		return
	}
	judgeEviction(f, s.Settings)
	judgeKeepAlive(f, s.Settings)
	judgePubSub(f, s.Settings)
	clients, most := redisbus.Number(s.Info["connected_clients"]), redisbus.Number(s.Settings["maxclients"])
	if most > 0 && clients*10 > most*9 {
		f.warn("clients", fmt.Sprintf("%d of %d connections are in use", clients, most), "raise maxclients, or lower MSG_REDIS_POOL_SIZE")
	}
}

func judgeEviction(f *findings, settings map[string]string) {
	policy, limited := settings["maxmemory-policy"], settings["maxmemory"] != "0"
	text := "maxmemory-policy is " + policy
	todo := "CONFIG SET maxmemory-policy noeviction, and the same in redis.conf: an evicted counter makes a user's messages come in the wrong order"
	switch {
	case policy == "noeviction":
		f.ok("eviction", "%s", text)
	case strings.HasPrefix(policy, "allkeys-") && limited:
		f.fail("eviction", text+" and maxmemory is set: counters seq:user:* can be evicted", todo)
	case strings.HasPrefix(policy, "allkeys-"):
		f.warn("eviction", text+"; harmless only as long as maxmemory is 0", todo)
	default: // volatile-*: counters never expire, so they stay
		f.ok("eviction", "%s, which spares counters", text)
	}
}

func judgeKeepAlive(f *findings, settings map[string]string) {
	seconds := redisbus.Number(settings["tcp-keepalive"])
	text := fmt.Sprintf("tcp-keepalive is %d s", seconds)
	if seconds == 0 || seconds > maxKeepAlive {
		f.warn("keep-alive", text+": so long (0: for ever) users seem to be online after their node's machine vanished", "CONFIG SET tcp-keepalive 60, and the same in redis.conf")
		return
	}
	f.ok("keep-alive", "%s", text)
}

// judgePubSub reads "normal 0 0 0 slave … pubsub 33554432 8388608 60".
func judgePubSub(f *findings, settings map[string]string) {
	fields := strings.Fields(settings["client-output-buffer-limit"])
	for i, field := range fields {
		if field != "pubsub" || i+1 >= len(fields) {
			continue
		}
		hard := redisbus.Number(fields[i+1])
		text := fmt.Sprintf("client-output-buffer-limit pubsub %s", strings.Join(fields[i+1:min(i+4, len(fields))], " "))
		todo := `CONFIG SET client-output-buffer-limit "pubsub 33554432 8388608 60", and the same in redis.conf`
		switch {
		case hard == 0:
			f.warn("subscribers", text+": a node that hangs can use up the memory of Redis", todo)
		case hard < minPubSubBuffer:
			f.warn("subscribers", text+": a burst disconnects nodes, which then look everything up in the database", todo)
		default:
			f.ok("subscribers", "%s", text)
		}
		return
	}
	f.unknown("subscribers", "the server does not tell client-output-buffer-limit", "")
}

func or(value, fallback string) string {
	if value == "" {
		return fallback
	}
	return value
}

// olderThan compares the first two numbers of a version such as "10.11.6-MariaDB".
func olderThan(version string, major, minor int) bool {
	var m, n int
	if _, err := fmt.Sscanf(version, "%d.%d", &m, &n); err != nil {
		return false
	}
	return m < major || m == major && n < minor
}
