package main

import (
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/token"
)

const accessLong = `Make the URL with which a device of a user connects, and print it.

It needs MSG_ACCESS_KEY, the one of the nodes, and --endpoint or MSG_ENDPOINT, the
public base URL of the nodes; it asks no server. Whoever has the URL can connect
as that user until it expires, so treat it as a password. Without USER the
connection is anonymous, and the three sends cannot reach it.

Roles: webpubsub.joinLeaveGroup and webpubsub.sendToGroup for all groups, or with
.GROUP behind them for one.`

const accessExample = `  # For a device of ada, for an hour.
  gatewayd token ada --endpoint https://push.example.com

  # One that may chat in a group and is in it from the start.
  gatewayd token ada --role webpubsub.sendToGroup.room1 --group room1 --lifetime 10m

  # Only the token, for a script.
  gatewayd token ada --json | jq -r .token`

func newToken(p *program) *cobra.Command {
	var roles, groups []string
	var lifetime time.Duration
	var asJSON bool
	cmd := &cobra.Command{
		Use: "token [USER] [flags]", Short: "Print a URL with which a device of a user connects", Long: accessLong, Example: accessExample,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return takes("USER")(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			all, err := p.settings(cmd)
			if err != nil {
				return err
			}
			user := ""
			if len(args) > 0 {
				user = args[0]
			}
			if !utf8.ValidString(user) {
				return usagef("USER is not valid UTF-8")
			}
			if lifetime < time.Second || lifetime > gateway.MaxTimeout {
				return usagef("--lifetime %v is not between 1s and %v", lifetime, gateway.MaxTimeout)
			}
			cfg := all.tokenConfig()
			if err := all.err(); err != nil {
				return err
			}
			access, err := token.NewAccess(cfg.AccessKey, cfg.Endpoints[0], cfg.Hub, token.Claims{UserID: user, Roles: roles, Groups: groups}, lifetime)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(p.stdout, tokenOutput{
					UserID: user, Hub: cfg.Hub, URL: access.URL, Token: access.Token, ExpiresAt: access.ExpiresAt.UTC(),
				})
			}
			p.printf(p.stdout, "%s\n", access.URL)
			return nil
		},
	}
	fs := cmd.Flags()
	fs.StringArrayVar(&roles, "role", nil, "`role` of the connection; may be repeated")
	fs.StringArrayVar(&groups, "group", nil, "`group` that the connection joins by itself; may be repeated")
	fs.DurationVar(&lifetime, "lifetime", gateway.DefaultTokenLifetime, "how long the URL can be used to connect")
	fs.BoolVar(&asJSON, "json", false, "print JSON with url, token and expiresAt")
	return cmd
}

type tokenOutput struct {
	UserID    string    `json:"userId"`
	Hub       string    `json:"hub"`
	URL       string    `json:"url"`
	Token     string    `json:"token"`
	ExpiresAt time.Time `json:"expiresAt"`
}

// tokenConfig reads what a token needs, so that whoever makes one needs no
// account at the services.
func (s *settings) tokenConfig() gateway.Config {
	only := &settings{names: s.names, variables: map[string]string{
		"MSG_EMBEDDED_DIR": "unused", // instead of the services
	}}
	for _, name := range []string{"MSG_ACCESS_KEY", "MSG_ACCESS_KEY_SECONDARY", "MSG_ENDPOINT", "MSG_HUB"} {
		if value := s.variables[name]; value != "" {
			only.variables[name] = value
		}
	}
	cfg := only.config()
	s.problems = append(s.problems, only.problems...)
	s.check("MSG_ACCESS_KEY", only.variables["MSG_ACCESS_KEY"] != "", "is required: it signs the token, and the nodes check it with the same one")
	s.check("MSG_ENDPOINT", only.variables["MSG_ENDPOINT"] != "", "is required: the token is for the address of the nodes; or set --endpoint")
	if cfg.Hub == "" {
		cfg.Hub = gateway.DefaultHub
	}
	return cfg
}
