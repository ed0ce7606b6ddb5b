package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"lighter/api"
)

// inspectTypes are the nouns that --type may name.
var inspectTypes = []string{"config", "container", "image", "network", "node", "plugin", "secret", "service", "task", "volume"}

// inspectOptions are the flags of inspect.
type inspectOptions struct {
	format, kind string
	size         bool
}

func newInspect(a *App) *cobra.Command {
	var o inspectOptions
	cmd := &cobra.Command{
		Use:                   "inspect [OPTIONS] NAME|ID [NAME|ID...]",
		Short:                 "Print all that is known of containers, images and other things",
		Args:                  atLeast(1),
		DisableFlagsInUseLine: true,
		ValidArgsFunction:     a.completeObjects,
		RunE: func(cmd *cobra.Command, args []string) error {
			list := strings.Join(inspectTypes, `", "`)
			if cmd.Flags().Changed("type") && o.kind == "" {
				return fmt.Errorf(`type is empty: must be one of "%s"`, list)
			}
			if o.kind != "" && !slices.Contains(inspectTypes, o.kind) {
				return fmt.Errorf(`unknown type: %q: must be one of "%s"`, o.kind, list)
			}
			return inspectAll(a, args, o.format, func(name string) (any, []byte, error) {
				return inspectAny(cmd.Context(), a, name, o)
			})
		},
	}
	f := cmd.Flags()
	f.StringVarP(&o.format, "format", "f", "", inspectFormatHelp)
	f.StringVar(&o.kind, "type", "", "Look only among the things of this type")
	f.BoolVarP(&o.size, "size", "s", false, "Tell sizes as well, of containers")
	cmd.RegisterFlagCompletionFunc("type", cobra.FixedCompletions(inspectTypes, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func newContainerInspect(a *App) *cobra.Command {
	var o inspectOptions
	cmd := &cobra.Command{
		Use:                   "inspect [OPTIONS] CONTAINER [CONTAINER...]",
		Short:                 "Print all that is known of containers",
		Args:                  atLeast(1),
		DisableFlagsInUseLine: true,
		ValidArgsFunction:     a.completeContainers(anyState),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.kind = "container"
			return inspectAll(a, args, o.format, func(name string) (any, []byte, error) {
				return inspectAny(cmd.Context(), a, name, o)
			})
		},
	}
	cmd.Flags().StringVarP(&o.format, "format", "f", "", inspectFormatHelp)
	cmd.Flags().BoolVarP(&o.size, "size", "s", false, "Tell sizes as well")
	return cmd
}

// inspectRoutes tells where things of a type are, in the order in which a name is
// looked up, and what their JSON is read into for templates.
var inspectRoutes = []struct {
	kind  string
	path  []string // "" stands for the name
	swarm bool
	into  func() any
}{
	{"container", []string{"containers", "", "json"}, false, func() any { return &api.Container{} }},
	{"image", []string{"images", "", "json"}, false, func() any { return &api.Image{} }},
	{"network", []string{"networks", ""}, false, func() any { return &api.Network{} }},
	{"volume", []string{"volumes", ""}, false, func() any { return &api.Volume{} }},
	{"service", []string{"services", ""}, true, nil},
	{"task", []string{"tasks", ""}, true, nil},
	{"node", []string{"nodes", ""}, true, nil},
	{"plugin", []string{"plugins", "", "json"}, false, nil},
	{"secret", []string{"secrets", ""}, true, nil},
	{"config", []string{"configs", ""}, true, nil},
}

// inspectAny finds a thing by its name or id, of o.kind or, when that is empty, of
// the first type that has one.
func inspectAny(ctx context.Context, a *App, name string, o inspectOptions) (any, []byte, error) {
	c, err := a.Client()
	if err != nil {
		return nil, nil, err
	}
	swarm, asked := false, false
	for _, r := range inspectRoutes {
		if o.kind != "" && o.kind != r.kind {
			continue
		}
		if r.swarm && o.kind == "" {
			if !asked {
				asked = true
				info, err := c.System().Info(ctx)
				if err != nil {
					fmt.Fprintln(a.Err, err)
				}
				swarm = info.Swarm.ControlAvailable
			}
			if !swarm {
				continue
			}
		}
		query := url.Values{}
		if o.size && r.kind == "container" {
			query.Set("size", "1")
		}
		path := slices.Clone(r.path)
		path[1] = name
		raw, err := c.System().Raw(ctx, query, path...)
		if err != nil {
			if o.kind == "" && elsewhere(err) {
				continue
			}
			return nil, nil, err
		}
		if o.size && r.kind != "container" {
			a.warn("WARNING: --size ignored for %s", r.kind)
		}
		if r.into == nil {
			return nil, raw, nil
		}
		v := r.into()
		return v, raw, json.Unmarshal(raw, v)
	}
	return nil, nil, fmt.Errorf("Error: No such object: %s", name)
}

// elsewhere tells errors after which a name is looked up among the next type.
func elsewhere(err error) bool {
	return api.Is(err, api.NotFound) || api.Is(err, api.NotImplemented) ||
		strings.Contains(err.Error(), "not supported") || strings.Contains(err.Error(), "invalid reference format")
}

// inspect prints things as JSON or by a template. Get gives a thing, for templates,
// and its JSON as the engine gave it; the thing may be nil. What was found is printed
// also when something was not.
func inspectAll(a *App, names []string, format string, get func(string) (any, []byte, error)) error {
	t, err := parseTemplate("", format)
	if err != nil {
		return &exitError{code: 64, text: err.Error()}
	}
	var errs []error
	var out bytes.Buffer
	var raws [][]byte
	for _, name := range names {
		v, raw, err := get(name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if format == "" || format == "json" {
			raws = append(raws, raw)
			continue
		}
		var line bytes.Buffer
		if v == nil || t.Execute(&line, v) != nil {
			// What our types do not know may still be in the JSON.
			line.Reset()
			var m any
			dec := json.NewDecoder(bytes.NewReader(raw))
			dec.UseNumber()
			if err := dec.Decode(&m); err != nil {
				errs = append(errs, fmt.Errorf("unable to read inspect data: %w", err))
				continue
			}
			if err := t.Option("missingkey=error").Execute(&line, m); err != nil {
				errs = append(errs, fmt.Errorf("template parsing error: %w", err))
				continue
			}
		}
		out.Write(line.Bytes())
		out.WriteByte('\n')
	}
	switch {
	case format == "" || format == "json":
		all := append(append([]byte{'['}, bytes.Join(raws, []byte{','})...), ']')
		if format == "json" {
			err = json.Compact(&out, all)
		} else {
			err = json.Indent(&out, all, "", "    ")
		}
		if err != nil {
			errs = append(errs, err)
		}
		out.WriteByte('\n')
	case out.Len() == 0:
		out.WriteByte('\n')
	}
	if _, err := a.Out.Write(out.Bytes()); err != nil {
		return err
	}
	if err := errors.Join(errs...); err != nil {
		return &exitError{code: 1, text: err.Error()}
	}
	return nil
}
