package cli

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"text/template"
	"time"

	"github.com/spf13/cobra"

	"lighter/api"
)

// clientVersion is what `version` and `info` tell of the program itself.
type clientVersion struct {
	Platform          *api.VersionPlatform `json:"Platform,omitempty"`
	Version           string               `json:"Version,omitempty"`
	APIVersion        string               `json:"ApiVersion,omitempty"`
	DefaultAPIVersion string               `json:"DefaultAPIVersion,omitempty"`
	GitCommit         string               `json:"GitCommit,omitempty"`
	GoVersion         string               `json:"GoVersion,omitempty"`
	Os                string               `json:"Os,omitempty"`
	Arch              string               `json:"Arch,omitempty"`
	BuildTime         string               `json:"BuildTime,omitempty"`
	Context           string               `json:"Context"`
}

// versions is what `version` prints.
type versions struct {
	Client clientVersion
	Server *api.ServerVersion
}

const versionFormat = `{{with .Client -}}
Client:{{if ne .Platform nil}}{{if ne .Platform.Name ""}} {{.Platform.Name}}{{end}}{{end}}
 Version:	{{.Version}}
 API version:	{{.APIVersion}}{{if ne .APIVersion .DefaultAPIVersion}} (downgraded from {{.DefaultAPIVersion}}){{end}}
 Go version:	{{.GoVersion}}
 Git commit:	{{.GitCommit}}
 Built:	{{.BuildTime}}
 OS/Arch:	{{.Os}}/{{.Arch}}
 Context:	{{.Context}}
{{- end}}

{{- with .Server}}

Server:{{if ne .Platform.Name ""}} {{.Platform.Name}}{{end}}
{{- range $c := .Components}}
 {{$c.Name}}:
{{- if eq $c.Name "Engine"}}
  Version:	{{$c.Version}}
  API version:	{{index $c.Details "ApiVersion"}} (minimum version {{index $c.Details "MinAPIVersion"}})
  Go version:	{{index $c.Details "GoVersion"}}
  Git commit:	{{index $c.Details "GitCommit"}}
  Built:	{{index $c.Details "BuildTime"}}
  OS/Arch:	{{index $c.Details "Os"}}/{{index $c.Details "Arch"}}
  Experimental:	{{index $c.Details "Experimental"}}
{{- else}}
  Version:	{{$c.Version}}
{{- range $k := getDetailsOrder $c}}
  {{$k}}:	{{index $c.Details $k}}
{{- end}}
{{- end}}
{{- end}}
{{- end}}`

func newVersion(a *App) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:                   "version [OPTIONS]",
		Short:                 "Print the versions of this program and of the engine",
		Args:                  noArgs,
		DisableFlagsInUseLine: true,
		ValidArgsFunction:     cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return printVersion(cmd.Context(), a, format)
		},
	}
	cmd.Flags().StringVarP(&format, "format", "f", "", inspectFormatHelp)
	return cmd
}

func printVersion(ctx context.Context, a *App, format string) error {
	switch format {
	case "":
		format = versionFormat
	case "json":
		format = "{{json .}}"
	}
	t, err := template.New("version").Funcs(templateFuncs()).Funcs(template.FuncMap{
		"getDetailsOrder": func(c api.ComponentVersion) []string { return slices.Sorted(maps.Keys(c.Details)) },
	}).Parse(format)
	if err != nil {
		return &exitError{code: 64, text: "template parsing error: " + err.Error()}
	}
	v := versions{Client: ownVersion(a)}
	c, err := a.Client()
	if err != nil {
		return err
	}
	server, err := c.System().Version(ctx)
	v.Client.APIVersion = c.Version()
	if err == nil {
		tidyServer(&server)
		v.Server = &server
	}
	var out bytes.Buffer
	if e := t.Execute(&out, v); e != nil && err == nil {
		err = e
	}
	out.WriteByte('\n')
	if _, e := a.Out.Write(align(out.Bytes(), 20, 1)); e != nil {
		return e
	}
	return err
}

// clientVersion tells of this program.
func ownVersion(a *App) clientVersion {
	v := clientVersion{
		Version:           a.version(),
		DefaultAPIVersion: api.Version,
		GitCommit:         api.Commit,
		GoVersion:         runtime.Version(),
		Os:                runtime.GOOS,
		Arch:              runtime.GOARCH,
		Context:           "default",
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.time" {
				v.BuildTime = ansiTime(s.Value)
			}
		}
	}
	return v
}

// tidyServer words the engine's build time, and makes a component of an engine that
// lists none of itself.
func tidyServer(v *api.ServerVersion) {
	for _, c := range v.Components {
		if c.Name == "Engine" {
			if t, ok := c.Details["BuildTime"]; ok {
				c.Details["BuildTime"] = ansiTime(t)
			}
			return
		}
	}
	v.Components = append(v.Components, api.ComponentVersion{Name: "Engine", Version: v.Version, Details: map[string]string{
		"ApiVersion": v.APIVersion, "MinAPIVersion": v.MinAPIVersion, "GitCommit": v.GitCommit, "GoVersion": v.GoVersion,
		"Os": v.Os, "Arch": v.Arch, "BuildTime": ansiTime(v.BuildTime), "Experimental": strconv.FormatBool(v.Experimental),
	}})
}

// ansiTime words an RFC 3339 time as C's asctime does; what is none stays as it is.
func ansiTime(s string) string {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return s
	}
	return t.Format(time.ANSIC)
}

// line prints words, unless the last of them is empty.
func line(w *bytes.Buffer, label, value string) {
	if value != "" {
		fmt.Fprintln(w, label, value)
	}
}
