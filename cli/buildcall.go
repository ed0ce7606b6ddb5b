package cli

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"lighter/api"
)

// placed is where in a Dockerfile something is, as the front end's reports say it.
type placed struct {
	SourceIndex int `json:"sourceIndex"`
	Ranges      []struct {
		Start, End struct{ Line int }
	}
}

func (p *placed) lines() (list []api.BuildLines) {
	for _, r := range p.Ranges {
		list = append(list, api.BuildLines{Start: r.Start.Line, End: r.End.Line})
	}
	return list
}

// lintReport is what --check finds.
type lintReport struct {
	Warnings []struct {
		RuleName, URL, Detail string
		Location              placed
	}
	Sources []struct {
		Filename string
		Data     []byte
	}
	BuildError *struct {
		Message  string
		Location placed
	}
}

// outlineReport is what can be set in a Dockerfile.
type outlineReport struct {
	Name, Description string
	Args              []struct{ Name, Value, Description string }
	Secrets, SSH      []struct {
		Name     string
		Required bool
	}
}

type targetsReport struct {
	Targets []struct {
		Name, Description string
		Default           bool
	}
}

// report prints what --call asked for. Warnings of a check are a failure.
func (o *buildFlags) report(a *App, raw json.RawMessage) error {
	call, format, _ := strings.Cut(o.call, ",")
	if format == "format=json" || format == "json" {
		_, err := fmt.Fprintln(a.Out, string(raw))
		return err
	}
	show := map[string]func(*App, *buildFlags, json.RawMessage) error{"check": showLint, "lint": showLint, "outline": showOutline, "targets": showTargets}
	return show[call](a, o, raw)
}

func showLint(a *App, o *buildFlags, raw json.RawMessage) error {
	var r lintReport
	if err := json.Unmarshal(raw, &r); err != nil {
		return fmt.Errorf("read the check's report: %w", err)
	}
	source := func(p *placed) *api.BuildSource {
		if p.SourceIndex < 0 || p.SourceIndex >= len(r.Sources) {
			return nil
		}
		s := r.Sources[p.SourceIndex]
		return &api.BuildSource{Filename: o.shownName(s.Filename), Data: s.Data, Ranges: p.lines()}
	}
	slices.SortStableFunc(r.Warnings, func(a, b struct {
		RuleName, URL, Detail string
		Location              placed
	}) int {
		return firstLine(&a.Location) - firstLine(&b.Location)
	})
	switch n := len(r.Warnings); {
	case r.BuildError == nil && n == 0:
		fmt.Fprintln(a.Out, "Check complete, no warnings found.")
		return nil
	case n > 0:
		verb := "has"
		if n > 1 {
			verb = "have"
		}
		fmt.Fprintf(a.Out, "Check complete, %d %s %s been found!\n", n, plural("warning", n), verb)
	}
	for _, w := range r.Warnings {
		head := "\nWARNING: " + w.RuleName
		if w.URL != "" {
			head += " - " + w.URL
		}
		fmt.Fprintf(a.Out, "%s\n%s\n", head, w.Detail)
		excerpt(a.Out, source(&w.Location))
	}
	if e := r.BuildError; e != nil {
		fmt.Fprintf(a.Out, "\nERROR: %s\n", e.Message)
		excerpt(a.Out, source(&e.Location))
	}
	return &exitError{code: 1}
}

func firstLine(p *placed) int {
	if len(p.Ranges) == 0 {
		return 0
	}
	return p.Ranges[0].Start.Line
}

// shownName is what the user called the Dockerfile.
func (o *buildFlags) shownName(name string) string {
	switch {
	case o.file != "" && o.file != "-":
		return o.file
	case o.source == "-" || isRemote(o.source) || o.file == "-":
		return name
	}
	return strings.TrimSuffix(o.source, "/") + "/" + name
}

func showOutline(a *App, _ *buildFlags, raw json.RawMessage) error {
	var r outlineReport
	if err := json.Unmarshal(raw, &r); err != nil {
		return fmt.Errorf("read the outline: %w", err)
	}
	if r.Name != "" || r.Description != "" {
		name := r.Name
		if name == "" {
			name = "(default)"
		}
		fmt.Fprintf(a.Out, "TARGET:      %s\n", name)
		if r.Description != "" {
			fmt.Fprintf(a.Out, "DESCRIPTION: %s\n", r.Description)
		}
		fmt.Fprintln(a.Out)
	}
	var args, secrets, agents []string
	for _, v := range r.Args {
		args = append(args, v.Name+"\t"+v.Value+"\t"+v.Description)
	}
	need := map[bool]string{true: "true"}
	for _, s := range r.Secrets {
		secrets = append(secrets, s.Name+"\t"+need[s.Required])
	}
	for _, s := range r.SSH {
		agents = append(agents, s.Name+"\t"+need[s.Required])
	}
	for _, t := range []struct {
		head string
		rows []string
	}{{"BUILD ARG\tVALUE\tDESCRIPTION", args}, {"SECRET\tREQUIRED", secrets}, {"SSH\tREQUIRED", agents}} {
		if len(t.rows) > 0 {
			w := tabwriter.NewWriter(a.Out, 0, 0, 3, ' ', 0)
			fmt.Fprintln(w, t.head+"\n"+strings.Join(t.rows, "\n"))
			w.Flush()
			fmt.Fprintln(a.Out)
		}
	}
	return nil
}

func showTargets(a *App, _ *buildFlags, raw json.RawMessage) error {
	var r targetsReport
	if err := json.Unmarshal(raw, &r); err != nil {
		return fmt.Errorf("read the targets: %w", err)
	}
	w := tabwriter.NewWriter(a.Out, 0, 0, 1, ' ', 0)
	fmt.Fprintln(w, "TARGET\tDESCRIPTION")
	for _, t := range r.Targets {
		name := t.Name
		switch {
		case t.Default && name == "":
			name = "(default)"
		case t.Default:
			name += " (default)"
		}
		fmt.Fprintf(w, "%s\t%s\n", name, t.Description)
	}
	return w.Flush()
}
