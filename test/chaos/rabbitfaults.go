package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// controlTime bounds one run of rabbitmqctl: it starts a runtime of its own.
const controlTime = 30 * time.Second

// rabbitState puts RabbitMQ into a state in which it answers and does not serve,
// and out of it again. With anew everyone has to connect again in between.
func rabbitState(name string, d time.Duration, anew bool, into, out string) fault {
	return fault{name, d, func(ctx context.Context, r *run) (string, error) {
		server := r.servers[rabbitService]
		control := func(ctx context.Context, command string) error {
			ctx, cancel := context.WithTimeout(ctx, controlTime)
			defer cancel()
			_, err := server.Control(ctx, strings.Fields(command)...)
			return err
		}
		err := control(ctx, into)
		if err == nil && anew {
			links := r.links.of(rabbitService, "")
			cut(links)
			err = mend(links)
		}
		if err == nil {
			err = sleep(ctx, d)
		}
		return seconds(d), errors.Join(err, control(context.WithoutCancel(ctx), out))
	}}
}

// rabbitStates are what operators do to a RabbitMQ that runs on, or it does by
// itself.
func rabbitStates(span func(time.Duration) time.Duration) []fault {
	return []fault{
		// connection.blocked: it reads nothing more from who publishes.
		rabbitState("memory alarm of rabbitmq", span(stateTime), false, "set_vm_memory_high_watermark 0.00001", "set_vm_memory_high_watermark 0.6"),
		rabbitState("rabbitmq takes rights away", span(stateTime), true, "clear_permissions -p / guest", "set_permissions -p / guest .* .* .*"),
		deletedQueues(),
	}
}

// deletedQueues deletes the exchange and every queue that this run declared,
// with what is in them.
func deletedQueues() fault {
	return fault{"queues and exchange of rabbitmq are deleted", 0, func(ctx context.Context, r *run) (string, error) {
		ctx, cancel := context.WithTimeout(ctx, controlTime)
		defer cancel()
		server := r.servers[rabbitService]
		listed, err := server.Control(ctx, "list_queues", "-q", "--no-table-headers", "name")
		if err != nil {
			return "", err
		}
		conn, err := amqp.DialConfig(server.Value, amqp.Config{Dial: amqp.DefaultDial(3 * time.Second)})
		if err != nil {
			return "", err
		}
		defer func() { _ = conn.CloseDeadline(time.Now().Add(time.Second)) }()
		ch, err := conn.Channel()
		if err != nil {
			return "", err
		}
		queues := strings.Fields(listed)
		for _, name := range queues {
			if strings.HasPrefix(name, "amq.gen-") {
				continue // the original's, which is its own connection's alone
			}
			if _, err := ch.QueueDelete(name, false, false, false); err != nil {
				return "", fmt.Errorf("delete queue %s: %w", name, err)
			}
		}
		if err := ch.ExchangeDelete(originalExchange, false, false); err != nil {
			return "", fmt.Errorf("delete exchange: %w", err)
		}
		return fmt.Sprintf("%d queues", len(queues)), nil
	}}
}
