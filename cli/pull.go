package cli

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"lighter/api"
	"lighter/client"
	"lighter/oci"
)

// pullImage has the engine pull an image for a container. How it goes is told on stderr.
func pullImage(ctx context.Context, a *App, ref oci.Reference, platform string, quiet bool) error {
	c, err := a.Client()
	if err != nil {
		return err
	}
	tag := ref.OrLatest().Tag
	if ref.Digest != "" {
		tag = string(ref.Digest)
	}
	body, err := c.Pull(ctx, ref.Name(), tag, platform, registryAuth(a, ref.Domain))
	if err != nil {
		return err
	}
	defer body.Close()
	var out io.Writer = a.Err
	if quiet {
		out = io.Discard
	}
	return client.Decode(body, func(p api.Progress) error {
		switch {
		case p.ErrorDetail != nil && p.ErrorDetail.Message != "":
			return errors.New(p.ErrorDetail.Message)
		case p.Error != "":
			return errors.New(p.Error)
		case p.ProgressDetail != nil && p.ProgressDetail.Total > 0:
			return nil // what goes by in a flash is not told
		case p.ID != "":
			fmt.Fprintf(out, "%s: %s\n", p.ID, p.Status)
		default:
			fmt.Fprintln(out, p.Status)
		}
		return nil
	})
}

// registryAuth gives our login at a registry as the header that engines take: JSON in
// base64url; empty JSON without a login.
func registryAuth(a *App, domain string) string {
	if domain == "docker.io" || domain == "index.docker.io" {
		domain = "https://index.docker.io/v1/"
	}
	var auth api.Auth
	if saved, ok := a.config().Auths[domain]; ok {
		auth.ServerAddress, auth.IdentityToken = domain, saved.IdentityToken
		auth.Username, auth.Password = saved.login()
	}
	b, err := json.Marshal(auth)
	if err != nil {
		return ""
	}
	return base64.URLEncoding.EncodeToString(b)
}
