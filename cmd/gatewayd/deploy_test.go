package main

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/message-gateway/gateway"
)

// The files in deploy/ are linted by test/deploy/run; here they are held to what
// the program takes.

func deployed(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("../../deploy/" + name)
	require.NoError(t, err)
	return string(text)
}

// known are all variables that the program reads.
func known(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	for _, v := range libraryVariables {
		names[v.name] = true
	}
	for _, name := range regexp.MustCompile("(?m)^\\| `(MSG_\\w+)` ").FindAllStringSubmatch(deployed(t, "../docs/configuration.md"), -1) {
		names[name[1]] = true
	}
	return names
}

// settingsOf are those of serve with these variables.
func settingsOf(t *testing.T, variables map[string]string) (serveSettings, gateway.Config) {
	t.Helper()
	names := known(t)
	var environ []string
	for name, value := range variables {
		require.Contains(t, names, name)
		environ = append(environ, name+"="+value)
	}
	p := testProgram(t, environ...)
	var serve serveSettings
	cmd := &cobra.Command{Use: "settings"}
	serve.addTo(cmd.Flags())
	newRoot(p).AddCommand(cmd)
	require.NoError(t, cmd.ParseFlags(nil)) // takes over the shared flags
	all, err := p.settings(cmd)
	require.NoError(t, err)
	cfg := all.config()
	serve.validate(all)
	require.NoError(t, all.err())
	return serve, cfg
}

func TestUnit(t *testing.T) {
	t.Parallel()
	unit := deployed(t, "gatewayd.service")
	find := func(pattern string) string {
		m := regexp.MustCompile("(?m)^" + pattern + "$").FindStringSubmatch(unit)
		require.NotNil(t, m, pattern)
		return m[1]
	}
	words := exampleWords(find(`ExecStart=/usr/local/bin/(.*)`))
	cmd, rest, err := newRoot(testProgram(t)).Find(words[1:])
	require.NoError(t, err)
	require.NoError(t, cmd.ParseFlags(rest))
	require.Equal(t, "notify", find(`Type=(\w+)`), "the program tells systemd when it is ready")

	file := t.TempDir() + "/env"
	require.NoError(t, os.WriteFile(file, []byte(deployed(t, "gatewayd.env.example")), 0o600))
	variables, err := readEnvFile(file)
	require.NoError(t, err)
	serve, cfg := settingsOf(t, variables)
	require.NotEmpty(t, weakness(variables["MSG_ACCESS_KEY"]), "doctor warns of the key of the example")
	requireGrace(t, find(`TimeoutStopSec=(\w+)`), serve, cfg)
	start, err := time.ParseDuration(find(`TimeoutStartSec=(\w+)`))
	require.NoError(t, err)
	require.Greater(t, start, 2*gateway.DefaultConnectTimeout)
}

// requireGrace: whoever stops the program gives it more time than it takes.
func requireGrace(t *testing.T, text string, serve serveSettings, cfg gateway.Config) {
	t.Helper()
	grace, err := time.ParseDuration(text)
	require.NoError(t, err)
	drain := cfg.DrainTimeout
	if drain == 0 {
		drain = gateway.DefaultDrainTimeout
	}
	require.Greater(t, grace, serve.shutdownDelay+serve.shutdownTimeout+drain+answerTime)
}

func TestCompose(t *testing.T) {
	t.Parallel()
	var compose struct {
		Services map[string]struct {
			Profiles    []string
			Command     []string
			Environment map[string]string
			Grace       string         `yaml:"stop_grace_period"`
			DependsOn   map[string]any `yaml:"depends_on"`
			Ports       []string
		}
	}
	require.NoError(t, yaml.Unmarshal([]byte(deployed(t, "compose.yaml")), &compose))
	node := compose.Services["gatewayd"]
	require.NotEmpty(t, node.Profiles, "tests start the services alone")
	require.Len(t, node.DependsOn, 3)
	variables := map[string]string{}
	for name, value := range node.Environment {
		variables[name] = defaulted(value)
	}
	serve, cfg := settingsOf(t, variables)
	for _, host := range []string{cfg.Redis.Addrs[0], cfg.MySQL.Addr, cfg.RabbitMQ.Addrs[0]} {
		name, _, _ := strings.Cut(host, ":")
		require.Contains(t, compose.Services, name)
		require.Contains(t, node.DependsOn, name)
	}
	require.Equal(t, defaulted(compose.Services["mysql"].Environment["MYSQL_PASSWORD"]), cfg.MySQL.Password)
	require.Equal(t, defaulted(compose.Services["rabbitmq"].Environment["RABBITMQ_DEFAULT_PASS"]), cfg.RabbitMQ.Password)
	requireGrace(t, node.Grace, serve, cfg)
	for _, service := range compose.Services {
		for _, port := range service.Ports {
			require.True(t, strings.HasPrefix(port, "127.0.0.1:"), "%s: passwords are known to everyone", port)
		}
	}
	cmd, rest, err := newRoot(testProgram(t)).Find(node.Command)
	require.NoError(t, err)
	require.NoError(t, cmd.ParseFlags(rest))
}

// defaulted is what Compose makes of ${NAME:-value} without the variable.
func defaulted(value string) string {
	return regexp.MustCompile(`\$\{\w+:-([^}]*)\}`).ReplaceAllString(value, "$1")
}

func TestDockerfile(t *testing.T) {
	t.Parallel()
	dockerfile := deployed(t, "Dockerfile")
	goVersion := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(deployed(t, "../go.mod"))[1]
	require.Contains(t, dockerfile, "FROM golang:"+goVersion+"-", "as go.mod says")
	require.Contains(t, dockerfile, "CGO_ENABLED=0")
	stages := strings.Split(dockerfile, "\nFROM ")
	last := stages[len(stages)-1]
	require.Regexp(t, `(?m)^USER [1-9]`, last)
	listen := regexp.MustCompile(`(?m)^ENV MSG_LISTEN=(\S+)`).FindStringSubmatch(last)
	require.NotNil(t, listen)
	require.Contains(t, last, "EXPOSE "+strings.TrimPrefix(listen[1], ":"))
	require.Contains(t, known(t), "MSG_LISTEN")
}
