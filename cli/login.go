package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"lighter/api"
)

func newLogin(a *App) *cobra.Command {
	var user, password string
	var stdin bool
	cmd := &cobra.Command{
		Use:                   "login [OPTIONS] [SERVER]",
		Short:                 "Log in to a registry",
		Args:                  atMost(1),
		DisableFlagsInUseLine: true,
		Annotations:           map[string]string{aliases: "login"},
		ValidArgsFunction:     cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			server := hubServer
			if len(args) > 0 {
				server = loginServer(args[0])
			}
			secret, err := logins{a}.givenPassword(cmd.Flags().Changed("password"), user, password, stdin)
			if err != nil {
				return err
			}
			return logins{a}.login(cmd.Context(), server, user, secret)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&user, "username", "u", "", "The user's name")
	f.StringVarP(&password, "password", "p", "", "The password, for all on this machine to see: better use --password-stdin")
	f.BoolVar(&stdin, "password-stdin", false, "Read the password from stdin")
	return cmd
}

// loginServer gives the name of a server as people may write it.
func loginServer(s string) string {
	s = strings.TrimPrefix(strings.TrimPrefix(s, "https://"), "http://")
	s, _, _ = strings.Cut(s, "/")
	return serverOf(s)
}

// givenPassword is the password of the flags, or of stdin; empty for none.
func (a logins) givenPassword(flag bool, user, password string, stdin bool) (string, error) {
	switch {
	case flag && stdin:
		return "", errors.New("conflicting options: cannot specify both --password and --password-stdin")
	case flag && password == "":
		return "", errors.New("password is empty")
	case flag:
		a.warn("WARNING! Using --password via the CLI is insecure. Use --password-stdin.")
	case stdin && user == "":
		return "", errors.New("the --password-stdin option requires --username to be set")
	case stdin:
		b, err := io.ReadAll(io.LimitReader(a.In, 1<<20))
		if err != nil {
			return "", err
		}
		password = strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
		if password == "" {
			return "", errors.New("password is empty")
		}
	}
	return password, nil
}

// login logs in with what is given, with what is kept, or with what the user types.
func (a logins) login(ctx context.Context, server, user, password string) error {
	c, err := a.Client()
	if err != nil {
		return err
	}
	var auth api.Auth
	if user == "" && password == "" {
		if auth, err = a.savedLogin(server); err != nil {
			return err
		}
		if auth.Username != "" || auth.IdentityToken != "" {
			who := ""
			if auth.Username != "" {
				who = " [Username: " + auth.Username + "]"
			}
			a.warn("Authenticating with existing credentials...%s\n", who)
			auth.ServerAddress = server
			if answer, err := c.Login(ctx, auth); err == nil {
				return a.loggedIn(auth, answer)
			} else if !api.Is(err, api.Unauthorized) {
				return err
			}
			a.warn("the login that was kept is no longer taken")
		}
	}
	if user == "" || password == "" {
		if user, password, err = a.askLogin(server, user, password, auth.Username); err != nil {
			return err
		}
	}
	auth = api.Auth{Username: user, Password: password, ServerAddress: server}
	answer, err := c.Login(ctx, auth)
	if err != nil {
		return err
	}
	return a.loggedIn(auth, answer)
}

// loggedIn keeps a login that was taken.
func (a logins) loggedIn(auth api.Auth, answer api.LoggedIn) error {
	if answer.IdentityToken != "" {
		auth.Password, auth.IdentityToken = "", answer.IdentityToken
	}
	plain, err := a.saveLogin(auth)
	if err != nil {
		return err
	}
	if plain {
		a.warn("\nWARNING! The login is kept in %s, where whoever can read the file can read it.\nA credential helper keeps it safer: see https://docs.docker.com/go/credential-store/\n", a.configPath())
	}
	if answer.Status != "" {
		fmt.Fprintln(a.Out, answer.Status)
	}
	return nil
}

// askLogin asks for what is missing at the terminal.
func (a logins) askLogin(server, user, password, known string) (string, string, error) {
	if !terminal(a.In) {
		return "", "", errors.New("Error: Cannot perform an interactive login from a non TTY device")
	}
	if user == "" {
		prompt := "Username: "
		if known != "" {
			prompt = fmt.Sprintf("Username (%s): ", known)
		}
		fmt.Fprint(a.Out, prompt)
		line, err := bufio.NewReader(a.In).ReadString('\n')
		if err != nil {
			return "", "", err
		}
		if user = strings.TrimSpace(line); user == "" {
			user = known
		}
		if user == "" {
			return "", "", errors.New("username is required")
		}
	}
	if password == "" {
		fmt.Fprintf(a.Out, "Password at %s: ", server)
		b, err := term.ReadPassword(int(a.In.Fd()))
		fmt.Fprintln(a.Out)
		if err != nil {
			return "", "", err
		}
		if password = strings.TrimSpace(string(b)); password == "" {
			return "", "", errors.New("password is required")
		}
	}
	return user, password, nil
}

func newLogout(a *App) *cobra.Command {
	return &cobra.Command{
		Use:                   "logout [SERVER]",
		Short:                 "Forget the login at a registry",
		Args:                  atMost(1),
		DisableFlagsInUseLine: true,
		Annotations:           map[string]string{aliases: "logout"},
		ValidArgsFunction:     cobra.NoFileCompletions,
		RunE: func(_ *cobra.Command, args []string) error {
			server := hubServer
			if len(args) > 0 {
				server = loginServer(args[0])
			}
			names := []string{server}
			if server != hubServer { // it may be kept as it was written
				names = append(names, "http://"+server, "https://"+server)
			}
			fmt.Fprintf(a.Out, "Removing login credentials for %s\n", server)
			if !slices.ContainsFunc(names, func(s string) bool { _, ok := a.config().Auths[s]; return ok }) && (logins{a}).helper(server) == "" {
				return nil // there is none
			}
			return logins{a}.dropLogin(names)
		},
	}
}
