package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/pulmonode/pulmonode/cmd/internal/serve"
	"github.com/pulmonode/pulmonode/inference/models"
)

// nodeTitle is the AE title that the senders call.
const nodeTitle = "PULMONODE"

// configure writes node.toml and the model files, and says where the node is.
func (d *day) configure() error {
	dicom, err := serve.FreeAddress()
	if err != nil {
		return err
	}
	http, err := serve.FreeAddress()
	if err != nil {
		return err
	}
	d.node = &serve.Node{Binary: d.binary, Config: d.path("node.toml"), Log: d.path("log"), DICOM: dicom, Admin: http}
	if err := d.disk.mount(d.path("data")); err != nil {
		d.say("no disk can be made full: %v", err)
	}
	if err := d.mendModel(); err != nil {
		return err
	}
	var t strings.Builder
	fmt.Fprintf(&t, `[node]
listen = %q
[storage]
data_dir = %q
stop_receiving_below = "0 B" # the disk is full where it is full; and nothing is deleted before it was looked at
[complete]
quiet = "1s"
idle = "6s"
[inference]
localize = %q
[admin]
listen = %q
[log]
format = "json"
`, dicom, d.path("data"), d.path("localize.onnx"), http)
	for h := range habits {
		fmt.Fprintf(&t, "[[source]]\nae_title = %q\nfrom = [\"127.0.0.0/8\"]\n", d.senderOf(h).title)
	}
	for _, s := range d.sinks {
		fmt.Fprintf(&t, "[[destination]]\nname = %q\nae_title = %q\naddress = %q\nsend = %s\n", s.name, s.title, s.address, s.send)
		if s.commit {
			fmt.Fprintf(&t, "commit = true\n[[source]]\nae_title = %q\nfrom = [\"127.0.0.0/8\"]\n", s.title)
		}
	}
	if d.database != nil {
		url, err := d.database.Database("day")
		if err != nil {
			return err
		}
		fmt.Fprintf(&t, "[queue]\nurl = %q\n", url)
	}
	return os.WriteFile(d.node.Config, []byte(t.String()), 0o600)
}

// start starts the node, with a clock that can be stepped where that is possible.
func (d *day) start(ctx context.Context) error {
	d.node.Begin = d.clock.begin
	if d.stepped == nil {
		if d.stepped = d.node.Start(ctx); d.stepped == nil {
			return nil
		}
		d.say("the node's clock can't be stepped: %v", d.stepped)
	}
	d.node.Begin = (*exec.Cmd).Start
	return d.node.Start(ctx)
}

// mendModel puts the shipped model in its place.
func (d *day) mendModel() error {
	b, err := models.Localize()
	if err != nil {
		return err
	}
	return os.WriteFile(d.path("localize.onnx"), b, 0o600)
}

// damageModel cuts the model's file.
func (d *day) damageModel() error {
	return os.Truncate(d.path("localize.onnx"), 1000)
}
