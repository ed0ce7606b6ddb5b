package cli

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"lighter/api"
)

// hubServer is the name of Docker Hub among logins.
const hubServer = "https://index.docker.io/v1/"

// logins are those that config.json keeps, itself or by the helpers that it names.
type logins struct{ *App }

// serverOf gives the name that a registry's login is kept under.
func serverOf(domain string) string {
	if domain == "docker.io" || domain == "index.docker.io" || domain == "registry-1.docker.io" || domain == "" {
		return hubServer
	}
	return domain
}

// registryAuth gives our login at a registry as the header that engines take: JSON in
// base64url; empty JSON without a login.
func (a logins) registryAuth(domain string) (string, error) {
	auth, err := a.savedLogin(serverOf(domain))
	if err != nil {
		return "", err
	}
	b, err := json.Marshal(auth)
	return base64.URLEncoding.EncodeToString(b), err
}

// savedLogin gives the login that is kept for a server, zero when there is none.
func (a logins) savedLogin(server string) (auth api.Auth, err error) {
	if helper := a.helper(server); helper != "" {
		return helperGet(helper, server)
	}
	saved, ok := a.config().Auths[server]
	if !ok {
		return auth, nil
	}
	auth.ServerAddress, auth.IdentityToken = server, saved.IdentityToken
	auth.Username, auth.Password = saved.login()
	return auth, nil
}

// helper names the program that keeps a server's login; empty for config.json itself.
func (a logins) helper(server string) string {
	if h, ok := a.config().CredHelpers[server]; ok {
		return h
	}
	return a.config().CredsStore
}

// helperVerbs are what is done, by what helpers call it.
var helperVerbs = map[string]string{"get": "getting", "store": "storing", "erase": "erasing"}

// runHelper calls a credential helper (docker-credential-NAME) with what it wants on
// stdin, and gives what it prints.
func runHelper(helper, verb, input string) ([]byte, error) {
	if strings.ContainsAny(helper, `/\`) {
		return nil, fmt.Errorf("error %s credentials - the helper's name %q in config.json leads to another folder: name a program docker-credential-NAME of PATH", helperVerbs[verb], helper)
	}
	cmd := exec.Command("docker-credential-"+helper, verb)
	cmd.Stdin = strings.NewReader(input)
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Run(); err != nil {
		text := strings.TrimSpace(out.String() + stderr.String())
		return nil, fmt.Errorf("error %s credentials - err: %w, out: `%s`", helperVerbs[verb], err, text)
	}
	return out.Bytes(), nil
}

// helperLogin is a login as helpers write it. The user "<token>" stands for an identity token.
type helperLogin struct{ ServerURL, Username, Secret string }

const tokenUser = "<token>"

func helperGet(helper, server string) (auth api.Auth, err error) {
	out, err := runHelper(helper, "get", server)
	if err != nil {
		if strings.Contains(err.Error(), "credentials not found in native keychain") {
			return auth, nil
		}
		return auth, err
	}
	var l helperLogin
	if err := json.Unmarshal(out, &l); err != nil {
		return auth, fmt.Errorf("docker-credential-%s answered what is not JSON: %w", helper, err)
	}
	auth.ServerAddress = server
	if l.Username == tokenUser {
		auth.IdentityToken = l.Secret
	} else {
		auth.Username, auth.Password = l.Username, l.Secret
	}
	return auth, nil
}

// saveLogin keeps a login. plain says that it has come to lie in config.json for anybody to
// read who can read that.
func (a logins) saveLogin(auth api.Auth) (plain bool, err error) {
	server := auth.ServerAddress
	entry := map[string]string{}
	if helper := a.helper(server); helper != "" {
		l := helperLogin{ServerURL: server, Username: auth.Username, Secret: auth.Password}
		if auth.IdentityToken != "" {
			l.Username, l.Secret = tokenUser, auth.IdentityToken
		}
		b, err := json.Marshal(l)
		if err == nil {
			_, err = runHelper(helper, "store", string(b))
		}
		if err != nil {
			return false, fmt.Errorf("Error saving credentials: %w", err)
		}
	} else {
		plain = true
		secret := auth.Username + ":" + auth.Password
		if auth.IdentityToken != "" {
			secret = auth.Username + ":"
			entry["identitytoken"] = auth.IdentityToken
		}
		entry["auth"] = base64.StdEncoding.EncodeToString([]byte(secret))
	}
	return plain, a.changeLogins(func(auths map[string]json.RawMessage) error {
		b, err := json.Marshal(entry)
		var was bytes.Buffer
		if json.Compact(&was, auths[server]) == nil && bytes.Equal(was.Bytes(), b) {
			plain = false // nothing new lies there
		}
		auths[server] = b
		return err
	})
}

// dropLogin forgets a login under each of the names that it may have.
func (a logins) dropLogin(servers []string) error {
	var errs []error
	for _, server := range servers {
		if helper := a.helper(server); helper != "" {
			if _, err := runHelper(helper, "erase", server); err != nil && !strings.Contains(err.Error(), "credentials not found") {
				errs = append(errs, err)
			}
		}
	}
	errs = append(errs, a.changeLogins(func(auths map[string]json.RawMessage) error {
		for _, server := range servers {
			delete(auths, server)
		}
		return nil
	}))
	return errors.Join(errs...)
}

// configPath is where config.json is.
func (a *App) configPath() string {
	dir := a.globals.configDir
	if dir == "" {
		dir = defaultConfigDir()
	}
	return filepath.Join(dir, "config.json")
}

// changeLogins changes the logins in config.json, and nothing else in it. A link is
// followed: people keep the file elsewhere.
func (a logins) changeLogins(change func(map[string]json.RawMessage) error) error {
	path := a.configPath()
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	all := map[string]json.RawMessage{}
	b, err := os.ReadFile(path)
	if err == nil && len(bytes.TrimSpace(b)) > 0 {
		err = json.Unmarshal(b, &all)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("change %s: %w", path, err)
	}
	auths := map[string]json.RawMessage{}
	if raw, ok := all["auths"]; ok {
		if err := json.Unmarshal(raw, &auths); err != nil {
			return fmt.Errorf("change %s: auths: %w", path, err)
		}
	}
	if err := change(auths); err != nil {
		return err
	}
	if all["auths"], err = json.Marshal(auths); err != nil {
		return err
	}
	if b, err = json.MarshalIndent(all, "", "\t"); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "config.json") // 0600
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(f.Name()))
	}
	a.conf = nil
	return nil
}
