package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/message-gateway/gateway"
)

// variableOf is the annotation of a flag that holds its variable.
const variableOf = "gatewayd/variable"

// reads ties a flag to the variable that it overrides.
func reads(fs *pflag.FlagSet, flag, variable string) {
	f := fs.Lookup(flag)
	f.Annotations = map[string][]string{variableOf: {variable}}
	f.Usage += " [" + variable + "]"
}

// settings are the variables that one run sees, and the mistakes in them.
type settings struct {
	// variables are those of the file, the process and the flags.
	variables map[string]string
	// names are what a value is called that came from a flag, by variable.
	names    map[string]string
	problems []gateway.ConfigProblem
}

// add notes a mistake in the variable, or in its flag if that was given.
func (s *settings) add(variable, problem string) {
	name := variable
	if flag := s.names[variable]; flag != "" {
		name = flag
	}
	s.problems = append(s.problems, gateway.ConfigProblem{Name: name, Problem: problem})
}

func (s *settings) check(variable string, ok bool, problem string) {
	if !ok {
		s.add(variable, problem)
	}
}

// err has every mistake at once.
func (s *settings) err() error {
	if len(s.problems) == 0 {
		return nil
	}
	return &gateway.ConfigError{Problems: s.problems}
}

// settings gathers the variables, and sets the flags of cmd that were not
// given from them.
func (p *program) settings(cmd *cobra.Command) (*settings, error) {
	s := &settings{variables: map[string]string{}, names: map[string]string{}}
	if path := cmd.Flag(envFileFlag).Value.String(); path != "" {
		fromFile, err := readEnvFile(path)
		if err != nil {
			return nil, usagef("--%s: %v", envFileFlag, err)
		}
		maps.Copy(s.variables, fromFile)
	}
	for _, pair := range p.environ {
		if name, value, _ := strings.Cut(pair, "="); value != "" {
			s.variables[name] = value
		}
	}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		of := f.Annotations[variableOf]
		if len(of) == 0 {
			return
		}
		variable := of[0]
		if f.Changed {
			s.names[variable] = "--" + f.Name
			s.variables[variable] = f.Value.String()
			return
		}
		if value := s.variables[variable]; value != "" && f.Value.Set(value) != nil {
			s.add(variable, fmt.Sprintf("%q is no %s", value, kindOf(f)))
		}
	})
	return s, nil
}

// config is the configuration of the library. Its mistakes join the others.
func (s *settings) config() gateway.Config {
	cfg, err := gateway.LoadConfigFrom(s.variables)
	var invalid *gateway.ConfigError
	switch {
	case errors.As(err, &invalid):
		for _, problem := range invalid.Problems {
			s.add(problem.Name, problem.Problem)
		}
	case err != nil:
		s.add("MSG_*", err.Error())
	}
	return cfg
}

func kindOf(f *pflag.Flag) string {
	switch f.Value.Type() {
	case "bool":
		return "true or false"
	case "duration":
		return "duration such as 20s"
	case "int", "float64":
		return "number"
	default:
		return "value for it"
	}
}

// readEnvFile reads NAME=VALUE lines as systemd's EnvironmentFile does: empty
// lines and those that begin with # or ; are skipped, and quotes around the
// whole value are removed. Nothing is expanded. Errors quote no values.
func readEnvFile(path string) (map[string]string, error) {
	text, err := os.ReadFile(path) //nolint:gosec // the caller names the file
	if err != nil {
		return nil, err
	}
	variables := map[string]string{}
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if name = strings.TrimSpace(name); !ok || name == "" || strings.ContainsAny(name, " \t'\"") {
			return nil, fmt.Errorf("%s: line %d is not NAME=VALUE", path, number)
		}
		value = strings.TrimSpace(value)
		if n := len(value); n > 0 && (value[0] == '"' || value[0] == '\'') {
			if n == 1 || value[n-1] != value[0] {
				return nil, fmt.Errorf("%s: line %d has a quote that is not closed", path, number)
			}
			value = value[1 : n-1]
		}
		if value == "" {
			delete(variables, name)
			continue
		}
		variables[name] = value
	}
	return variables, nil
}

// sortedKeys are the keys in order, for output that does not change.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
