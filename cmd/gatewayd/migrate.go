package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/message-gateway/gateway/internal/store"
)

const migrateLong = `Create the table push_messages and its indexes where they are missing.

A table that is there already, also one that another SDK created, only gets the
indexes that it lacks: no column is changed, added or dropped, and no row. It is
safe to run again, and from several places at once. Only the database has to be
reachable. The account needs CREATE and INDEX for this, and for nothing else.

Creating an index on a large table takes a while; MySQL lets others write to the
table meanwhile.`

const migrateExample = `  # What is there, and what would be done?
  gatewayd migrate --status

  # Before a new version is rolled out, with an account that may change tables.
  gatewayd migrate --env-file /etc/gatewayd/migrate.env`

func newMigrate(p *program) *cobra.Command {
	var status, asJSON bool
	cmd := &cobra.Command{
		Use: "migrate [flags]", Short: "Create the table and its indexes where they are missing",
		Long: migrateLong, Example: migrateExample, Args: takes(),
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			s, err := p.openFor(cmd)
			if err != nil {
				return err
			}
			defer s.closeInto(&err)
			before, err := s.Schema(cmd.Context())
			if err != nil {
				return err
			}
			report := migration{Database: s.name, Schema: before, Actions: actions(before)}
			if !status {
				if err := s.Migrate(cmd.Context()); err != nil {
					return err
				}
				if report.Schema, err = s.Schema(cmd.Context()); err != nil {
					return err
				}
				report.Done = true
			}
			if asJSON {
				return printJSON(p.stdout, report)
			}
			p.printf(p.stdout, "%s", report)
			return nil
		},
	}
	cmd.Flags().BoolVar(&status, "status", false, "only say what is there and what would be done")
	cmd.Flags().BoolVar(&status, "dry-run", false, "the same as --status")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// migration is what migrate did, or would do.
type migration struct {
	Database string       `json:"database"`
	Done     bool         `json:"done"`
	Actions  []string     `json:"actions"`
	Schema   store.Schema `json:"schema"`
}

// actions are what Migrate does with such a schema.
func actions(s store.Schema) []string {
	list := []string{}
	if !s.Exists {
		return append(list, "create the table push_messages with its indexes")
	}
	if len(s.Pending) == 0 {
		return list
	}
	for _, columns := range s.MissingIndexes {
		list = append(list, "create an index on ("+strings.ReplaceAll(columns, ",", ", ")+")")
	}
	return append(list, "record that the table is complete, in gateway_schema_version")
}

// String is the report for people.
func (m migration) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: ", m.Database)
	switch {
	case len(m.Actions) == 0:
		b.WriteString("the table push_messages is there and complete; nothing to do\n")
	case m.Done:
		b.WriteString("done:\n")
	default:
		b.WriteString("would be done by gatewayd migrate:\n")
	}
	for _, action := range m.Actions {
		fmt.Fprintf(&b, "  - %s\n", action)
	}
	if m.Schema.Foreign {
		b.WriteString("The table was created by another SDK. Its columns and rows are left alone.\n")
	}
	if len(m.Schema.MissingColumns) > 0 {
		fmt.Fprintf(&b, "WARNING: push_messages lacks the columns %s, and migrate adds none to a table of somebody else. Nodes cannot work with it.\n",
			strings.Join(m.Schema.MissingColumns, ", "))
	}
	return b.String()
}
