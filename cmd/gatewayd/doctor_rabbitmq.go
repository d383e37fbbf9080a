package main

import (
	"fmt"
	"strings"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/broker/rabbit"
)

// manyNotifications is a length of the queue that needs a look.
const manyNotifications = 10_000

// judgeRabbitMQ turns what is known of RabbitMQ into checks.
func judgeRabbitMQ(cfg gateway.Config, facts rabbit.Facts) []check {
	f := &findings{area: areaRabbit}
	if facts.Err != nil {
		f.fail("configuration", facts.Err.Error(), "check the MSG_RABBITMQ_* variables")
		return f.checks
	}
	clusters := map[string]bool{}
	for _, h := range facts.Hosts {
		switch {
		case h.Err == nil:
			f.ok("reachable", "%s: %s %s", h.Addr, or(h.Product, "AMQP server"), h.Version)
			clusters[h.Cluster] = true
			if h.Product == "RabbitMQ" && olderThan(h.Version, 3, 9) {
				f.warn("version", h.Version+" is not tested", "use RabbitMQ 3.10 or newer")
			}
		case facts.Up():
			f.warn("reachable", h.Addr+": "+h.Err.Error(), "the other hosts are used. "+rabbitAdvice(cfg, h))
		default:
			f.fail("reachable", h.Addr+": "+h.Err.Error(), rabbitAdvice(cfg, h))
		}
	}
	if !facts.Up() {
		return f.checks
	}
	if len(clusters) > 1 {
		f.fail("cluster", "the hosts belong to different clusters: "+strings.Join(sortedKeys(clusters), ", "), "give only hosts of one cluster in MSG_RABBITMQ_ADDRS")
	}
	judgeExchange(f, facts.Exchange)
	judgeQueue(f, facts.Queue)
	if facts.UseErr != nil {
		f.fail("rights", facts.UseErr.Error(), fmt.Sprintf(`rabbitmqctl set_permissions -p %s %s '.*' '.*' '.*', or, tighter, '^%sws\.message\.' three times`,
			cfg.RabbitMQ.VHost, cfg.RabbitMQ.User, cfg.RabbitMQ.NamePrefix))
	} else {
		f.ok("rights", "declare, bind, publish, consume and delete a queue")
	}
	return f.checks
}

func rabbitAdvice(cfg gateway.Config, h rabbit.HostFacts) string {
	text := h.Err.Error()
	switch {
	case h.Code == 403 || strings.Contains(text, "ACCESS_REFUSED") || strings.Contains(text, "username or password"):
		return "check MSG_RABBITMQ_USERNAME and MSG_RABBITMQ_PASSWORD; the account guest may connect from the server's own machine only"
	case h.Code == 530 || strings.Contains(text, "no access to this vhost"):
		return fmt.Sprintf("rabbitmqctl add_vhost %[1]s; rabbitmqctl set_permissions -p %[1]s %[2]s '.*' '.*' '.*'; or check MSG_RABBITMQ_VHOST", cfg.RabbitMQ.VHost, cfg.RabbitMQ.User)
	default:
		return networkAdvice(h.Err, "RabbitMQ", "MSG_RABBITMQ_HOST and MSG_RABBITMQ_PORT (or MSG_RABBITMQ_ADDRS)", "MSG_RABBITMQ_TLS")
	}
}

func judgeExchange(f *findings, e rabbit.ExchangeFacts) {
	switch {
	case !e.Exists:
		f.ok("exchange", "%s does not exist yet; the first client declares it", e.Name)
	case e.Differ != nil:
		f.warn("exchange", fmt.Sprintf("%s is used as somebody else declared it: %v", e.Name, e.Differ),
			"harmless if it is a durable direct exchange that this account may only use")
	default:
		f.ok("exchange", "%s", e.Name)
	}
}

func judgeQueue(f *findings, q rabbit.QueueFacts) {
	if !q.Exists {
		f.ok("queue", "%s does not exist yet; the first node declares it", q.Name)
		return
	}
	text := fmt.Sprintf("%s holds %d messages and has %d consumers", q.Name, q.Messages, q.Consumers)
	switch {
	case q.Messages > manyNotifications && q.Consumers == 0:
		f.warn("queue", text+": no node runs", "start a node; what the queue holds are hints, and the messages are in the database")
	case q.Messages > manyNotifications:
		f.warn("queue", text+": nodes are slower than what comes in", "start more nodes, and look whether the database is slow")
	default:
		f.ok("queue", "%s", text)
	}
	if q.Differ != nil {
		f.warn("queue properties", fmt.Sprintf("somebody else declared %s, and it is used as it is: %v", q.Name, q.Differ),
			"set a max-length policy for it, or delete it while no node runs, so that a node declares it with x-max-length")
	}
}
