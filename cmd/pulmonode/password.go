package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/pulmonode/pulmonode/node/admin"
)

func passwordCommand() *cobra.Command {
	var file, role string
	var remove bool
	c := &cobra.Command{
		Use:   "password USER",
		Short: "Give a user of the page a password, or take it away",
		Long: `Writes a line of the file that [admin] password_file names, which is made when it
is not there and is its owner's alone. Only a hash of the password is kept. It is
asked for twice and not shown; what comes through a pipe is read, a line. Root may
change the file, whose owner stays; one that root makes wants a chown to the user
that runs the node. A running node takes the change from the next request on.`,
		Example: `  pulmonode password --file /etc/pulmonode/passwords ann
  pulmonode password --file /etc/pulmonode/passwords grafana --role view < secret
  pulmonode password --file /etc/pulmonode/passwords ann --remove`,
		Args: exactly("USER"),
		RunE: func(c *cobra.Command, args []string) error {
			if file == "" {
				return usageError{errors.New("name the password file: --file FILE")}
			}
			password := ""
			if !remove {
				var err error
				if password, err = askPassword(c.InOrStdin(), c.ErrOrStderr()); err != nil {
					return err
				}
			}
			_, missing := os.Stat(file)
			if err := admin.SetPassword(file, args[0], password, admin.Role(role)); err != nil {
				return err
			}
			if remove {
				fmt.Fprintf(c.OutOrStdout(), "%s may not come in any more\n", args[0])
				return nil
			}
			fmt.Fprintf(c.OutOrStdout(), "%s has a password, with the role %s\n", args[0], role)
			if missing != nil {
				fmt.Fprintf(c.OutOrStdout(), "%s is new: name it in [admin] password_file; it must belong to the user that runs the node (chown USER %s)\n", file, file)
			}
			return nil
		},
	}
	c.Flags().StringVar(&file, "file", "", "the password file")
	c.Flags().StringVar(&role, "role", string(admin.Operate), `"operate", or "view": look and change nothing`)
	c.Flags().BoolVar(&remove, "remove", false, "take the user out")
	return c
}

// askPassword asks for a new password twice, or reads a line of what is no terminal.
func askPassword(in io.Reader, prompt io.Writer) (string, error) {
	f, ok := in.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		line, err := bufio.NewReader(io.LimitReader(in, 4096)).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return "", fmt.Errorf("reading the password: %w", err)
		}
		if line = strings.TrimRight(line, "\r\n"); line == "" {
			return "", errors.New("no password came: type it, or pipe it in")
		}
		return line, nil
	}
	var typed [2][]byte
	for i, ask := range []string{"Password: ", "Once more: "} {
		fmt.Fprint(prompt, ask)
		b, err := term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(prompt)
		if err != nil {
			return "", fmt.Errorf("reading the password: %w", err)
		}
		typed[i] = b
	}
	if !bytes.Equal(typed[0], typed[1]) {
		return "", errors.New("the two are not the same: nothing was changed")
	}
	if len(typed[0]) == 0 {
		return "", errors.New("no password was typed: nothing was changed")
	}
	return string(typed[0]), nil
}
