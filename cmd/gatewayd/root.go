package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

const rootLong = `Gatewayd is a node of message-gateway as one program: it holds the WebSocket
connections of users' devices and delivers what services send to them over
Redis, MySQL and RabbitMQ. Its other commands are for whoever runs it.

A first hour:

  gatewayd doctor              is everything there that a node needs?
  gatewayd migrate             create the table push_messages
  gatewayd serve               run a node until SIGTERM
  gatewayd token ada           a URL with which a device of ada connects
  gatewayd send reliable ada '{"text":"hello"}'
  gatewayd status user ada     what ada has not acknowledged yet

Settings come from MSG_* variables, from a file of them (--env-file), and from
flags. A flag wins over a variable, and a variable over the file.`

const rootExample = `  # Try it with nothing installed; the messages are kept in ./data.
  export MSG_EMBEDDED_DIR=./data MSG_ACCESS_KEY=change-me-to-a-secret-of-32-bytes-or-more
  gatewayd serve

  # Check the machine that a service unit runs on, with the unit's settings.
  gatewayd doctor --env-file /etc/gatewayd/gatewayd.env`

// newRoot builds the tree of commands, anew for each run.
func newRoot(p *program) *cobra.Command {
	root := &cobra.Command{
		Use: "gatewayd", Short: "A node that holds users' devices, and the tools to run it",
		Long: rootLong, Example: rootExample,
		SilenceErrors: true, SilenceUsage: true,
		// Without a command: the help, as a mistake.
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			text := fmt.Sprintf("there is no command %q", args[0])
			if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
				text += fmt.Sprintf("; did you mean %s?", strings.Join(near, " or "))
			}
			return usagef("%s", text)
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			cmd.SetOut(p.stderr)
			_ = cmd.Help()
			return &exitError{code: exitUsage}
		},
		SuggestionsMinimumDistance: 2,
	}
	root.SetIn(p.stdin)
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	root.SetHelpCommandGroupID(groupOther)
	root.SetCompletionCommandGroupID(groupOther)
	addSharedFlags(root)
	root.AddGroup(
		&cobra.Group{ID: groupNode, Title: "A node:"},
		&cobra.Group{ID: groupMessages, Title: "Messages:"},
		&cobra.Group{ID: groupOther, Title: "Other:"},
	)
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add(groupNode, newServe(p), newMigrate(p), newDoctor(p), newPurge(p))
	add(groupMessages, newToken(p), newSend(p), newStatus(p))
	add(groupOther, newVersion(p))
	root.AddCommand(newVariablesTopic(), newExitCodesTopic())
	root.InitDefaultHelpCmd()
	return root
}

// The groups of the commands in the help.
const (
	groupNode     = "node"
	groupMessages = "messages"
	groupOther    = "other"
)

// parent is a command that only has commands below it.
func parent(cmd *cobra.Command) *cobra.Command {
	cmd.Args = func(_ *cobra.Command, args []string) error {
		if len(args) > 0 {
			return usagef("there is no %q; it takes %s", args[0], commandNames(cmd))
		}
		return usagef("it takes %s", commandNames(cmd))
	}
	cmd.RunE = func(*cobra.Command, []string) error { return nil } // Args has refused it
	return cmd
}

func commandNames(cmd *cobra.Command) string {
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	return strings.Join(names, ", ")
}

// takes checks the number of arguments and names what is missing.
func takes(names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) < len(names) {
			return usagef("%s is missing", names[len(args)])
		}
		if len(args) > len(names) {
			return usagef("unexpected argument %q", args[len(names)])
		}
		return nil
	}
}

func newExitCodesTopic() *cobra.Command {
	return &cobra.Command{
		Use: "exit-codes", Short: "what the exit codes mean",
		Long: `Exit codes, the same for all commands:

  0  done
  1  something is down or broken; doctor: at least one check failed
  2  wrong usage or configuration; nothing was done
  3  send command: the device did not answer in time
  4  send command: the device answered with an error
  5  not there: no such message (status message), or the user is offline
     (send with --fail-if-offline)

Answers, also those with 3 and 4, are JSON on standard output; texts for people
are on standard error.`,
	}
}
