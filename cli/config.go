package cli

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// configFile is what we take from Docker's config.json.
type configFile struct {
	HTTPHeaders   map[string]string       `json:"HttpHeaders"`
	PsFormat      string                  `json:"psFormat"`
	ImagesFormat  string                  `json:"imagesFormat"`
	NetworkFormat string                  `json:"networksFormat"`
	VolumesFormat string                  `json:"volumesFormat"`
	StatsFormat   string                  `json:"statsFormat"`
	DetachKeys    string                  `json:"detachKeys"`
	PruneFilters  []string                `json:"pruneFilters"`
	Proxies       map[string]proxies      `json:"proxies"`
	Auths         map[string]authConfig   `json:"auths"`
	CredsStore    string                  `json:"credsStore"`
	CredHelpers   map[string]string       `json:"credHelpers"`
	Features      map[string]string       `json:"features"`
	Plugins       map[string]pluginConfig `json:"plugins"`
}

type pluginConfig map[string]string

// authConfig is what is kept of a login; Auth is base64 of user:password.
type authConfig struct {
	Auth          string `json:"auth"`
	IdentityToken string `json:"identitytoken"`
}

// proxies are handed on to containers as environment.
type proxies struct {
	HTTP  string `json:"httpProxy"`
	HTTPS string `json:"httpsProxy"`
	No    string `json:"noProxy"`
	FTP   string `json:"ftpProxy"`
	All   string `json:"allProxy"`
}

func defaultConfigDir() string {
	if dir := os.Getenv("DOCKER_CONFIG"); dir != "" {
		return dir
	}
	home, _ := os.UserHomeDir()
	return filepath.Join(home, ".docker")
}

// config gives config.json, read once. One that cannot be read counts as empty, and
// is told of.
func (a *App) config() *configFile {
	if a.conf != nil {
		return a.conf
	}
	a.conf = &configFile{}
	path := a.configPath()
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, a.conf)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		a.warn("WARNING: Error loading config file: %s: %v", path, err)
	}
	return a.conf
}

// proxyEnv gives the environment that config.json's proxies ask for: names in both
// cases, unless env has them.
func (a *App) proxyEnv(host string, env []string) []string {
	p, ok := a.config().Proxies[host]
	if !ok {
		if p, ok = a.config().Proxies["default"]; !ok {
			return env
		}
	}
	has := map[string]bool{}
	for _, kv := range env {
		name, _, _ := strings.Cut(kv, "=")
		has[name] = true
	}
	for _, v := range [][2]string{{"ALL_PROXY", p.All}, {"FTP_PROXY", p.FTP}, {"HTTPS_PROXY", p.HTTPS}, {"HTTP_PROXY", p.HTTP}, {"NO_PROXY", p.No}} {
		for _, name := range []string{v[0], strings.ToLower(v[0])} {
			if v[1] != "" && !has[name] {
				env = append(env, name+"="+v[1])
			}
		}
	}
	return env
}

// login gives user and password, empty when there is none that can be read.
func (c authConfig) login() (user, password string) {
	b, err := base64.StdEncoding.DecodeString(c.Auth)
	if err != nil {
		return "", ""
	}
	user, password, _ = strings.Cut(strings.TrimRight(string(b), "\x00"), ":")
	return user, password
}
