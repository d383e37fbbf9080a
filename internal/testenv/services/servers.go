package services

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

func startRedis(ctx context.Context, sup *Supervisor) (*Server, error) {
	path, err := look("redis-server", "valkey-server")
	if err != nil {
		return nil, err
	}
	port, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	h, err := sup.newHome("redis")
	if err != nil {
		return nil, err
	}
	return sup.serve("redis", fmt.Sprintf("127.0.0.1:%d", port), h, func() *exec.Cmd {
		return h.command(path, "--port", strconv.Itoa(port), "--bind", "127.0.0.1",
			"--dir", h.dir, "--save", "", "--appendonly", "no", "--daemonize", "no")
	})
}

func startMySQL(ctx context.Context, sup *Supervisor) (*Server, error) {
	path, err := look("mariadbd", "mysqld")
	if err != nil {
		return nil, err
	}
	port, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	h, err := sup.newHome("mysql")
	if err != nil {
		return nil, err
	}
	version, err := h.command(path, "--version").Output()
	if err != nil {
		return nil, fmt.Errorf("%s --version: %w", path, err)
	}
	maria := strings.Contains(string(version), "MariaDB")
	data := h.path("data")
	var create *exec.Cmd // makes the system tables, with a root that has no password
	if maria {
		script, err := look("mariadb-install-db", "mysql_install_db")
		if err != nil {
			return nil, err
		}
		create = h.command(script, "--no-defaults", "--datadir="+data,
			"--auth-root-authentication-method=normal", "--skip-test-db")
	} else {
		create = h.command(path, "--no-defaults", "--initialize-insecure", "--datadir="+data)
	}
	if c, err := sup.spawn(h, create); err != nil {
		return nil, err
	} else if err := c.wait(ctx); err != nil {
		return nil, fmt.Errorf("make the system tables: %w", err)
	}
	args := []string{
		"--no-defaults", "--datadir=" + data, "--socket=" + h.path("sock"), "--pid-file=" + h.path("pid"),
		"--bind-address=127.0.0.1", "--port=" + strconv.Itoa(port), "--max-connections=500", "--skip-log-bin",
		// So that connections are not refused while the server is paused: who
		// dials then would hear of it a backoff of TCP after it goes on.
		"--back-log=4000",
		"--innodb-buffer-pool-size=64M",
	}
	if sup.Durable {
		args = append(args, "--innodb-flush-log-at-trx-commit=1")
	} else {
		// Nothing here has to outlive the machine, and tests make many databases.
		args = append(args, "--innodb-flush-log-at-trx-commit=2")
	}
	if !maria {
		args = append(args, "--mysqlx=OFF")
	}
	return sup.serve("mysql", fmt.Sprintf("root@tcp(127.0.0.1:%d)/", port), h, func() *exec.Cmd { return h.command(path, args...) })
}

// startRabbit starts RabbitMQ as a node of its own: its folder, ports, node
// name and cookie, and an epmd (the port mapper of Erlang) on a free port, so
// that one that runs on this machine neither learns of it nor is ended.
func startRabbit(ctx context.Context, sup *Supervisor) (*Server, error) {
	// Debian's /usr/sbin/rabbitmq-server switches user and folder: not that.
	path, err := look("/usr/lib/rabbitmq/bin/rabbitmq-server", "rabbitmq-server")
	if err != nil {
		return nil, err
	}
	globs, _ := filepath.Glob("/usr/*/erlang/erts-*/bin/epmd") // the pattern is good
	epmd, err := look(slices.Concat([]string{"epmd"}, globs)...)
	if err != nil {
		return nil, err
	}
	ports, err := freePorts(ctx, 3)
	if err != nil {
		return nil, err
	}
	h, err := sup.newHome("rabbitmq")
	if err != nil {
		return nil, err
	}
	epmdEnv := []string{fmt.Sprintf("ERL_EPMD_PORT=%d", ports[2]), "ERL_EPMD_ADDRESS=127.0.0.1"}
	mapper := h.command(epmd) // without -daemon: a child like the others
	mapper.Env = append(mapper.Env, epmdEnv...)
	if _, err := sup.spawn(h, mapper); err != nil {
		return nil, err
	}
	files := map[string]string{}
	for name, content := range map[string]string{
		"env.conf":        "", // instead of the machine's
		"advanced.config": "[].\n",
		"plugins":         "[].\n",
		"rabbitmq.conf":   fmt.Sprintf("listeners.tcp.default = 127.0.0.1:%d\ndisk_free_limit.absolute = 50MB\n", ports[0]),
	} {
		if files[name], err = h.write(name, content); err != nil {
			return nil, err
		}
	}
	configured := func(path string, args ...string) *exec.Cmd {
		cmd := h.command(path, args...)
		cmd.Env = append(cmd.Env, epmdEnv...)
		cmd.Env = append(cmd.Env,
			"RABBITMQ_NODENAME=gateway-test@localhost",
			"RABBITMQ_BASE="+h.dir,
			"RABBITMQ_MNESIA_BASE="+h.path("mnesia"),
			"RABBITMQ_LOG_BASE="+h.path("log"),
			"RABBITMQ_PID_FILE="+h.path("pid"),
			"RABBITMQ_CONF_ENV_FILE="+files["env.conf"],
			"RABBITMQ_CONFIG_FILE="+files["rabbitmq.conf"],
			"RABBITMQ_ADVANCED_CONFIG_FILE="+files["advanced.config"],
			"RABBITMQ_ENABLED_PLUGINS_FILE="+files["plugins"],
			"RABBITMQ_GENERATED_CONFIG_DIR="+h.path("config"),
			"RABBITMQ_FEATURE_FLAGS_FILE="+h.path("feature_flags"),
			fmt.Sprintf("RABBITMQ_NODE_PORT=%d", ports[0]),
			"RABBITMQ_NODE_IP_ADDRESS=127.0.0.1",
			fmt.Sprintf("RABBITMQ_DIST_PORT=%d", ports[1]),
			"ERL_FLAGS=-kernel inet_dist_use_interface {127,0,0,1}",
		)
		return cmd
	}
	s, err := sup.serve("rabbitmq", rabbitURL(ports[0]), h, func() *exec.Cmd { return configured(path) })
	if err != nil {
		return nil, err
	}
	s.tool = func(args ...string) (*exec.Cmd, error) {
		path, err := look("/usr/lib/rabbitmq/bin/rabbitmqctl", "rabbitmqctl")
		if err != nil {
			return nil, err
		}
		return configured(path, args...), nil
	}
	return s, nil
}
