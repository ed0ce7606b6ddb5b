package cli

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"lighter/api"
)

// fieldsOf reads key=value,key=value; a value that holds a comma stands in quotes, the field with it.
func fieldsOf(flag, s string) (map[string]string, error) {
	words, err := csv.NewReader(strings.NewReader(s)).Read()
	if err != nil {
		return nil, fmt.Errorf("--%s: %w", flag, err)
	}
	m := map[string]string{}
	for _, w := range words {
		k, v, ok := strings.Cut(w, "=")
		if !ok {
			return nil, fmt.Errorf("invalid field '%s' of --%s: must be a key=value pair", w, flag)
		}
		m[strings.ToLower(strings.TrimSpace(k))] = v
	}
	return m, nil
}

// maxSecret is how large a secret may be, as with BuildKit.
const maxSecret = 500 << 10

// readSecrets reads secrets from files and from the environment.
func readSecrets(list []string) (map[string][]byte, error) {
	if len(list) == 0 {
		return nil, nil
	}
	secrets := map[string][]byte{}
	for _, s := range list {
		f, err := fieldsOf("secret", s)
		if err != nil {
			return nil, err
		}
		for k := range f {
			if !slices.Contains([]string{"type", "id", "src", "source", "env"}, k) {
				return nil, fmt.Errorf("unexpected key '%s' in '%s'", k, s)
			}
		}
		id, file, env := f["id"], f["src"]+f["source"], f["env"]
		switch kind := f["type"]; {
		case kind != "" && kind != "file" && kind != "env":
			return nil, fmt.Errorf("unsupported secret type %q", kind)
		case id == "":
			return nil, fmt.Errorf("secret %q: it has no id", s)
		case kind == "env" && env == "":
			env, file = file, ""
		}
		if file == "" && env == "" {
			if _, has := os.LookupEnv(id); has {
				env = id
			} else {
				file = id
			}
		}
		if env != "" {
			value, has := os.LookupEnv(env)
			if !has {
				return nil, fmt.Errorf("secret %s: there is no variable %s in the environment", id, env)
			}
			secrets[id] = []byte(value)
			continue
		}
		if secrets[id], err = readSecret(id, file); err != nil {
			return nil, err
		}
	}
	return secrets, nil
}

func readSecret(id, path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("secret %s: %w", id, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err == nil && len(b) > maxSecret {
		err = fmt.Errorf("%s is larger than %d kB", path, maxSecret>>10)
	}
	if err != nil {
		return nil, fmt.Errorf("secret %s: %w", id, err)
	}
	return b, nil
}

// cacheOptions reads --cache-from and --cache-to. A word alone is an image.
func cacheOptions(list []string, folder string) (all []api.BuildCacheOption, err error) {
	for _, s := range list {
		if !strings.Contains(s, "=") {
			for ref := range strings.SplitSeq(s, ",") {
				all = append(all, api.BuildCacheOption{Type: "registry", Attrs: map[string]string{"ref": ref}})
			}
			continue
		}
		f, err := fieldsOf("cache", s)
		if err != nil {
			return nil, err
		}
		c := api.BuildCacheOption{Type: f["type"], Attrs: f}
		delete(f, "type")
		switch c.Type {
		case "inline", "registry":
		case "local":
			if f[folder] == "" {
				return nil, fmt.Errorf("a cache of type local needs %s=PATH", folder)
			}
			if f[folder], err = filepath.Abs(f[folder]); err != nil {
				return nil, err
			}
		case "":
			return nil, fmt.Errorf("the cache %q has no type: must be inline, registry or local", s)
		default:
			return nil, fmt.Errorf("a cache of type %q is not known here: must be inline, registry or local", c.Type)
		}
		all = append(all, c)
	}
	return all, nil
}

// destination is where an output goes on this machine.
type destination struct {
	path string // "-" for stdout; empty where the engine keeps it
	dir  bool   // unpacked there
}

// outputOptions reads --output, and adds what --push, --load and --annotation ask for.
func (o *buildFlags) outputOptions(a *App, r *api.BuildRequest) (dests []destination, err error) {
	for _, s := range o.outputs {
		out, to, err := readOutput(s)
		if err != nil {
			return nil, err
		}
		if to.path == "-" && terminal(a.Out) {
			return nil, errors.New("dest file is a terminal: redirect stdout, or name a file with dest=")
		}
		r.Outputs, dests = append(r.Outputs, out), append(dests, to)
	}
	if o.push {
		r.Outputs, dests = append(r.Outputs, api.BuildOutput{Type: "registry", Attrs: map[string]string{}}), append(dests, destination{})
	}
	if o.load {
		r.Outputs, dests = append(r.Outputs, api.BuildOutput{Type: "image", Attrs: map[string]string{}}), append(dests, destination{})
	}
	for _, out := range r.Outputs {
		if (out.Type == "registry" || out.Attrs["push"] == "true") && len(r.Names) == 0 && out.Attrs["name"] == "" {
			return nil, errors.New("tag is needed when pushing to registry")
		}
	}
	for _, s := range o.annotations {
		kind, key, value, err := readAnnotation(s)
		if err != nil {
			return nil, err
		}
		for _, out := range r.Outputs {
			out.Attrs["annotation"+kind+"."+key] = value
		}
	}
	if len(o.annotations) > 0 && !slices.ContainsFunc(r.Outputs, hasManifest) {
		return nil, errors.New("annotations go with a manifest, and none is made: push the image (--push), have it as an archive (--output type=oci,dest=FILE), or say it by a label (--label)")
	}
	return dests, nil
}

// hasManifest tells whether an output writes a manifest: an image of the engine's has none until it is pushed.
func hasManifest(o api.BuildOutput) bool {
	return slices.Contains([]string{"oci", "docker", "registry"}, o.Type) || o.Attrs["push"] == "true"
}

// readAnnotation reads [manifest|index|…[PLATFORM]:]key=value.
func readAnnotation(s string) (kind, key, value string, err error) {
	key, value, ok := strings.Cut(s, "=")
	if !ok {
		return "", "", "", fmt.Errorf("invalid annotation %q, expected key=value", s)
	}
	if k, rest, typed := strings.Cut(key, ":"); typed {
		platform := ""
		if from := strings.IndexByte(k, '['); from >= 0 && strings.HasSuffix(k, "]") {
			k, platform = k[:from], k[from:]
		}
		if k != "manifest" && k != "index" && k != "manifest-descriptor" && k != "index-descriptor" {
			return "", "", "", fmt.Errorf("unknown annotation type %q", k)
		}
		kind, key = "-"+k+platform, rest
	}
	return kind, key, value, nil
}

// readOutput reads one --output: fields, or a path alone for the files of the result.
func readOutput(s string) (out api.BuildOutput, to destination, err error) {
	if !strings.Contains(s, "=") {
		if s == "-" {
			return api.BuildOutput{Type: "tar", Attrs: map[string]string{}}, destination{path: "-"}, nil
		}
		return api.BuildOutput{Type: "local", Attrs: map[string]string{}}, destination{path: s, dir: true}, nil
	}
	f, err := fieldsOf("output", s)
	if err != nil {
		return out, to, err
	}
	out, to.path = api.BuildOutput{Type: f["type"], Attrs: f}, f["dest"]
	delete(f, "type")
	delete(f, "dest")
	switch out.Type {
	case "local":
		to.dir = true
	case "tar":
	case "oci", "docker":
		to.dir = f["tar"] == "false"
		delete(f, "tar")
		if out.Type == "docker" && to.path == "" {
			out.Type = "image"
		}
	case "image", "registry", "cacheonly":
		if to.path != "" {
			return out, to, fmt.Errorf("an output of type %s has no dest", out.Type)
		}
	case "":
		return out, to, errors.New("type is required for output")
	default:
		return out, to, fmt.Errorf("unsupported output type %q: must be one of %s", out.Type, "local, tar, oci, docker, image, registry, cacheonly")
	}
	switch {
	case to.dir && (to.path == "" || to.path == "-"):
		return out, to, fmt.Errorf("dest is required for an output of type %s: a folder", out.Type)
	case to.path == "" && (out.Type == "tar" || out.Type == "oci"):
		to.path = "-"
	}
	return out, to, nil
}

// all gives every login that there is, by server: a build may need any.
func (a logins) all() map[string]api.Auth {
	c := a.config()
	servers := map[string]bool{}
	for server := range maps.Keys(c.Auths) {
		servers[server] = true
	}
	for server := range maps.Keys(c.CredHelpers) {
		servers[server] = true
	}
	if c.CredsStore != "" {
		var known map[string]string
		if out, err := runHelper(c.CredsStore, "list", ""); err == nil && json.Unmarshal(out, &known) == nil {
			for server := range known {
				servers[server] = true
			}
		}
	}
	if len(servers) == 0 {
		return nil
	}
	all := map[string]api.Auth{}
	for server := range servers {
		// One that cannot be had is missed by who needs it.
		if auth, err := a.savedLogin(server); err == nil && auth != (api.Auth{}) {
			all[server] = auth
		}
	}
	return all
}
