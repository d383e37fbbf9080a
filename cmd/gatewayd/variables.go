package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// variable is one that the library reads. A secret has no flag: the command
// line of a process can be read by everyone on its machine.
type variable struct {
	name, usage string
	secret      bool
	toggle      bool // true or false
}

// libraryVariables are those of gateway.LoadConfig, in the order of
// docs/configuration.md.
var libraryVariables = []variable{
	{name: "MSG_REDIS_HOST", usage: "host of Redis"},
	{name: "MSG_REDIS_PORT", usage: "port of Redis (6379)"},
	{name: "MSG_REDIS_USER", usage: "Redis ACL user"},
	{name: "MSG_REDIS_PASSWORD", usage: "password of Redis", secret: true},
	{name: "MSG_REDIS_DB", usage: "database number; 0 for a cluster"},
	{name: "MSG_MYSQL_HOST", usage: "host of MySQL or MariaDB"},
	{name: "MSG_MYSQL_PORT", usage: "port of MySQL (3306)"},
	{name: "MSG_MYSQL_USER", usage: "account"},
	{name: "MSG_MYSQL_PASSWORD", usage: "password of the account", secret: true},
	{name: "MSG_MYSQL_DB", usage: "database that holds push_messages"},
	{name: "MSG_RABBITMQ_HOST", usage: "host of RabbitMQ"},
	{name: "MSG_RABBITMQ_PORT", usage: "port of RabbitMQ (5672)"},
	{name: "MSG_RABBITMQ_USERNAME", usage: "account"},
	{name: "MSG_RABBITMQ_PASSWORD", usage: "password of the account", secret: true},
	{name: "MSG_RABBITMQ_VHOST", usage: "virtual host (/)"},
	{name: "MSG_REDIS_ADDRS", usage: "host:port list instead of host and port: a cluster's nodes, or Sentinels"},
	{name: "MSG_REDIS_CLUSTER", usage: "the addresses belong to a Redis Cluster", toggle: true},
	{name: "MSG_REDIS_SENTINEL_MASTER", usage: "name of the master; the addresses are those of the Sentinels"},
	{name: "MSG_REDIS_SENTINEL_USER", usage: "account at the Sentinels"},
	{name: "MSG_REDIS_SENTINEL_PASSWORD", usage: "password at the Sentinels", secret: true},
	{name: "MSG_REDIS_TLS", usage: "connect with TLS", toggle: true},
	{name: "MSG_REDIS_POOL_SIZE", usage: "connections for each server"},
	{name: "MSG_REDIS_KEY_PREFIX", usage: "put before every key and channel"},
	{name: "MSG_MYSQL_TLS", usage: "connect with TLS", toggle: true},
	{name: "MSG_MYSQL_MAX_OPEN_CONNS", usage: "most connections to MySQL"},
	{name: "MSG_RABBITMQ_ADDRS", usage: "host:port list of one cluster, instead of host and port"},
	{name: "MSG_RABBITMQ_TLS", usage: "connect with TLS", toggle: true},
	{name: "MSG_RABBITMQ_NAME_PREFIX", usage: "put before the names of exchange and queues"},
	{name: "MSG_TLS_CA", usage: "file with the PEM certificates to trust"},
	{name: "MSG_TLS_CERT", usage: "file with the client certificate (PEM)"},
	{name: "MSG_TLS_KEY", usage: "file with its key (PEM)"},
	{name: "MSG_ACCESS_KEY", usage: "signs and checks the tokens of devices; 32 bytes or more", secret: true},
	{name: "MSG_ACCESS_KEY_SECONDARY", usage: "accepted as well, to rotate keys", secret: true},
	{name: "MSG_ENDPOINT", usage: "public base URLs of the nodes, such as https://push.example.com"},
	{name: "MSG_HUB", usage: "hub that the three sends reach (default)"},
	{name: "MSG_MAX_PAYLOAD", usage: "largest payload in bytes"},
	{name: "MSG_CONNECT_TIMEOUT", usage: "bounds the start of a client (10s)"},
	{name: "MSG_DRAIN_TIMEOUT", usage: "how long a client waits for running sends when it closes (5s)"},
	{name: "MSG_LIMIT_HUB_NAME", usage: "most characters of a hub (128)"},
	{name: "MSG_LIMIT_GROUP_NAME", usage: "most characters of a group (1024)"},
	{name: "MSG_LIMIT_EVENT_NAME", usage: "most characters of an event (128)"},
	{name: "MSG_LIMIT_METADATA_NAME", usage: "most bytes of a name of metadata (256)"},
	{name: "MSG_LIMIT_METADATA_VALUE", usage: "most bytes of a value of metadata (1024)"},
	{name: "MSG_LIMIT_METADATA", usage: "most bytes of the metadata of a message (8192)"},
	{name: "MSG_LIMIT_MESSAGE_TTL", usage: "longest time to live of a message to a hub (5m)"},
	{name: "MSG_LIMIT_FILTER_BYTES", usage: "most bytes of a filter (65536)"},
	{name: "MSG_LIMIT_FILTER_CLAUSES", usage: "most comparisons in a filter (100)"},
	{name: "MSG_LIMIT_FILTER_DEPTH", usage: "how deep a filter may be nested (100)"},
	{name: "MSG_LIMIT_PAGE", usage: "most connections in a page of a list (200)"},
	{name: "MSG_EMBEDDED_DIR", usage: "no services: keep everything in this folder, for one process"},
}

// flag is MSG_REDIS_HOST's redis-host.
func (v variable) flag() string {
	return strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(v.name, "MSG_")), "_", "-")
}

const envFileFlag = "env-file"

// addSharedFlags adds the flags that every command has. Those of the library
// are many and the same everywhere: the help of a command leaves them to the
// topic.
func addSharedFlags(root *cobra.Command) {
	fs := root.PersistentFlags()
	fs.String(envFileFlag, "", "read variables from this `file` of NAME=VALUE lines; those of the process win")
	fs.String("log-level", "", "lowest `level` to log: debug, info, warn or error (default: info for serve, warn for all others)")
	fs.String("log-format", "json", "`format` of the log on standard error: json or text")
	reads(fs, "log-level", "MSG_LOG_LEVEL")
	reads(fs, "log-format", "MSG_LOG_FORMAT")
	for _, v := range libraryVariables {
		if v.secret {
			continue
		}
		fs.String(v.flag(), "", v.usage)
		reads(fs, v.flag(), v.name)
		f := fs.Lookup(v.flag())
		f.Hidden = true
		if v.toggle {
			f.NoOptDefVal = "true"
		}
	}
}

func newVariablesTopic() *cobra.Command {
	var b strings.Builder
	b.WriteString(`The variables that every command reads, and their flags. A flag wins over the
variable, a variable of the process over one of --env-file. Secrets have no
flag, because everyone on a machine can read the command lines of its
processes. docs/configuration.md says more about each.

`)
	for _, v := range libraryVariables {
		flag := "--" + v.flag()
		if v.secret {
			flag = "(a secret: no flag)"
		}
		fmt.Fprintf(&b, "  %-28s %s\n      %s\n", v.name, flag, v.usage)
	}
	b.WriteString(`
At least the host of each service and its account are needed, or MSG_EMBEDDED_DIR
alone. A node and "token" need MSG_ACCESS_KEY, too.`)
	return &cobra.Command{Use: "variables", Short: "the variables and flags that say where the services are", Long: b.String()}
}
