package cli

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"lighter/client"
)

const (
	defaultHost = "unix:///run/lighter/lighter.sock"
	osName      = runtime.GOOS
)

// globals are the flags that stand before the command.
type globals struct {
	configDir     string
	context       string
	debug         bool
	hosts         []string
	logLevel      string
	tls, verify   bool
	ca, cert, key string
	version       bool
}

// flags makes the set of global flags, with the environment's defaults.
func (g *globals) flags() *pflag.FlagSet {
	f := pflag.NewFlagSet("", pflag.ContinueOnError)
	f.SetInterspersed(false)
	f.StringVar(&g.configDir, "config", defaultConfigDir(), "Folder of the client's config.json")
	f.StringVarP(&g.context, "context", "c", "", "Context to take the engine's address from (there is one: default)")
	f.BoolVarP(&g.debug, "debug", "D", false, "Tell more about what is done")
	f.VarP(&hostFlag{&g.hosts}, "host", "H", "Address of the engine (unix:///path or tcp://host:port)")
	f.StringVarP(&g.logLevel, "log-level", "l", "info", `Least level of messages to print ("debug", "info", "warn", "error", "fatal")`)
	f.BoolVar(&g.tls, "tls", env("TLS") != "", "Speak TLS (--tlsverify implies it)")
	f.BoolVar(&g.verify, "tlsverify", env("TLS_VERIFY") != "", "Speak TLS, and check the engine's certificate")
	dir := certDir()
	f.StringVar(&g.ca, "tlscacert", filepath.Join(dir, "ca.pem"), "Certificate of the one authority to trust")
	f.StringVar(&g.cert, "tlscert", filepath.Join(dir, "cert.pem"), "Certificate to show to the engine")
	f.StringVar(&g.key, "tlskey", filepath.Join(dir, "key.pem"), "Key of that certificate")
	f.BoolVarP(&g.version, "version", "v", false, "Print the version and quit")
	return f
}

// defaults gives the globals of a command line that has none.
func (g *globals) defaults() {
	g.tls, g.verify = env("TLS") != "", env("TLS_VERIFY") != ""
	if g.tls || g.verify {
		dir := certDir()
		g.ca, g.cert, g.key = filepath.Join(dir, "ca.pem"), filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	}
}

// env gives LIGHTER_NAME or, where that is not set, DOCKER_NAME.
func env(name string) string {
	if v, ok := os.LookupEnv("LIGHTER_" + name); ok {
		return v
	}
	return os.Getenv("DOCKER_" + name)
}

func certDir() string {
	if dir := env("CERT_PATH"); dir != "" {
		return dir
	}
	return defaultConfigDir()
}

// check refuses what the globals must not say.
func (g *globals) check() error {
	switch strings.ToLower(g.logLevel) {
	case "", "panic", "fatal", "error", "warn", "warning", "info", "debug", "trace":
	default:
		return fmt.Errorf("Unable to parse logging level: %s", g.logLevel)
	}
	if len(g.hosts) > 1 {
		return errors.New("Failed to initialize: unable to resolve docker endpoint: Specify only one -H")
	}
	if g.context != "" && len(g.hosts) > 0 {
		return errors.New("conflicting options: cannot specify both --host and --context")
	}
	name := g.context
	if name == "" && len(g.hosts) == 0 && os.Getenv("LIGHTER_HOST") == "" && os.Getenv("DOCKER_HOST") == "" {
		name = os.Getenv("DOCKER_CONTEXT")
	}
	if name != "" && name != "default" {
		return fmt.Errorf("context %q: there is no context but default; name the engine with --host", name)
	}
	return nil
}

// secured tells that the engine is to be spoken to by TLS.
func (a *App) secured() bool {
	if !a.globals.tls && !a.globals.verify {
		return false
	}
	host, err := a.host()
	return err == nil && strings.HasPrefix(host, "tcp://")
}

// tlsConfig gives how TLS is to be spoken, nil when it is not.
func (g *globals) tlsConfig() *client.TLS {
	if !g.tls && !g.verify {
		return nil
	}
	t := &client.TLS{CA: unquote(g.ca), Cert: unquote(g.cert), Key: unquote(g.key), Verify: g.verify}
	// Files that are only the default may be absent, as with Docker.
	if _, err := os.Stat(t.Cert); os.IsNotExist(err) && t.Cert == filepath.Join(certDir(), "cert.pem") {
		t.Cert = ""
	}
	if _, err := os.Stat(t.Key); os.IsNotExist(err) && t.Key == filepath.Join(certDir(), "key.pem") {
		t.Key = ""
	}
	return t
}

func unquote(s string) string {
	if n := len(s); n >= 2 && s[0] == s[n-1] && (s[0] == '"' || s[0] == '\'') {
		return s[1 : n-1]
	}
	return s
}

// hostFlag takes addresses, of which there may be one.
type hostFlag struct{ list *[]string }

func (h *hostFlag) String() string { return strings.Join(*h.list, "") }
func (*hostFlag) Type() string     { return "list" }
func (h *hostFlag) Set(s string) error {
	*h.list = append(*h.list, s)
	return nil
}

// host finds out where the engine is.
func (a *App) host() (string, error) {
	host := ""
	switch {
	case len(a.globals.hosts) > 0:
		host = a.globals.hosts[0]
	case a.globals.context != "":
	case os.Getenv("LIGHTER_HOST") != "":
		host = os.Getenv("LIGHTER_HOST")
	default:
		host = os.Getenv("DOCKER_HOST")
	}
	if host = strings.TrimSpace(host); host == "" {
		host = usersHost()
	}
	return parseHost(host, a.globals.tls || a.globals.verify)
}

// usersHost is where the engine of an ordinary user listens; empty when it is the machine's
// engine that is meant: of root, or where there is one that the user may speak to.
func usersHost() string {
	dir := os.Getenv("XDG_RUNTIME_DIR")
	if dir == "" || os.Geteuid() <= 0 { // -1 where there are no such ids
		return ""
	}
	path := filepath.Join(dir, "lighter.sock")
	if _, err := os.Stat(path); err == nil {
		return "unix://" + path
	}
	if c, err := net.Dial("unix", strings.TrimPrefix(defaultHost, "unix://")); err == nil {
		c.Close()
		return ""
	}
	return "unix://" + path
}

// parseHost brings an address into the form unix://path or tcp://host:port.
func parseHost(s string, secure bool) (string, error) {
	if s == "" {
		return defaultHost, nil
	}
	proto, addr, ok := strings.Cut(s, "://")
	if !ok {
		proto, addr = "tcp", s
	}
	switch proto {
	case "unix":
		if addr == "" {
			return defaultHost, nil
		}
		return "unix://" + addr, nil
	case "tcp":
		return parseTCP(addr, secure)
	case "ssh":
		return "", errors.New("ssh:// is not spoken; forward the socket with `ssh -L` and name it with --host unix://…")
	}
	return "", fmt.Errorf("Failed to initialize: unable to resolve docker endpoint: invalid bind address format: %s", s)
}

func parseTCP(addr string, secure bool) (string, error) {
	port := "2375"
	if secure {
		port = "2376"
	}
	addr, base, _ := strings.Cut(addr, "/")
	if base != "" {
		base = "/" + base
	}
	host, p, err := net.SplitHostPort(addr)
	if err != nil {
		host, p = strings.Trim(addr, "[]"), ""
	}
	if host == "" {
		host = "localhost"
	}
	if p == "" {
		p = port
	}
	if _, err := strconv.ParseUint(p, 10, 16); err != nil {
		return "", fmt.Errorf("Failed to initialize: unable to resolve docker endpoint: invalid bind address format: %s", addr)
	}
	return "tcp://" + net.JoinHostPort(host, p) + base, nil
}
