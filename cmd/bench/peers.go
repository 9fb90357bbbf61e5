package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// peer is a program that people receive or send with. "As installed" is without
// an option beyond port and folder; tuned is with what its manual offers for speed.
type peer struct {
	name    string
	missing func(b *bench) string // why it can't run here; "": it can
	fsyncs  bool                  // as strace -f -e fsync,fdatasync shows it
	most    int                   // associations at once; 0: as many as come
	scp     func(b *bench, dir string, port int, tuned bool) (*exec.Cmd, error)
	scu     func(b *bench, dir string, port int, tuned bool) *exec.Cmd // sends the files of dir over one association
}

// pdu is the largest PDU that DCMTK takes, and what all are tuned to.
const pdu = "131072"

var pulmonode = peer{
	name:    "pulmonode",
	missing: func(*bench) string { return "" },
	fsyncs:  true,
	scp: func(b *bench, dir string, port int, _ bool) (*exec.Cmd, error) {
		return b.serve(dir, port)
	},
	scu: func(b *bench, dir string, port int, _ bool) *exec.Cmd {
		return b.command(b.binary, "send", dir, "--to", "PULMONODE@127.0.0.1:"+strconv.Itoa(port))
	},
}

var dcmtk = peer{
	name:    "DCMTK",
	missing: onPath("storescp", "make peers"),
	scp: func(b *bench, dir string, port int, tuned bool) (*exec.Cmd, error) {
		args := []string{"--fork", "-od", dir, "+uf", strconv.Itoa(port)}
		if tuned {
			args = append([]string{"-pdu", pdu}, args...)
		}
		return nodelay(b.command("storescp", args...), tuned), nil
	},
	scu: func(b *bench, dir string, port int, tuned bool) *exec.Cmd {
		args := []string{"-aec", "PULMONODE", "+sd", "127.0.0.1", strconv.Itoa(port), dir}
		if tuned {
			args = append([]string{"-pdu", pdu}, args...)
		}
		return nodelay(b.command("storescu", args...), tuned)
	},
}

// peers are all but pulmonode.
var peers = []peer{
	dcmtk,
	{
		name:    "Orthanc",
		missing: onPath("Orthanc", "make peers"),
		fsyncs:  true, // SyncStorageArea, its default
		scp: func(b *bench, dir string, port int, _ bool) (*exec.Cmd, error) {
			path := filepath.Join(dir, "orthanc.json")
			text := fmt.Sprintf(`{"Name":"bench","StorageDirectory":%q,"IndexDirectory":%[1]q,"DicomPort":%d,"DicomCheckCalledAet":false,"HttpServerEnabled":false}`, dir, port)
			return b.command("Orthanc", path), os.WriteFile(path, []byte(text), 0o600)
		},
	},
	{
		name: "pynetdicom",
		most: 10, // its AE's maximum_associations
		missing: func(b *bench) string {
			if b.command(b.python, "-c", "import pynetdicom").Run() != nil {
				return "it is not installed (make bench installs it)"
			}
			return ""
		},
		scp: func(b *bench, dir string, port int, tuned bool) (*exec.Cmd, error) {
			return b.pynetdicom(tuned, "storescp", "-q", "-od", dir, strconv.Itoa(port)), nil
		},
		scu: func(b *bench, dir string, port int, tuned bool) *exec.Cmd {
			return b.pynetdicom(tuned, "storescu", "-q", "-cx", "-aec", "PULMONODE", "-r", "127.0.0.1", strconv.Itoa(port), dir)
		},
	},
	{
		name: "dicom-rs",
		missing: func(b *bench) string {
			if _, err := os.Stat(rust("dicom-storescp")); err != nil {
				return "it is not installed (make bench installs it where cargo is)"
			}
			return ""
		},
		scp: func(b *bench, dir string, port int, tuned bool) (*exec.Cmd, error) {
			args := []string{"-o", dir, "-p", strconv.Itoa(port)}
			if tuned {
				args = append(args, "-m", pdu, "-n")
			}
			return b.command(rust("dicom-storescp"), args...), nil
		},
		scu: func(b *bench, dir string, port int, tuned bool) *exec.Cmd {
			args := []string{"PULMONODE@127.0.0.1:" + strconv.Itoa(port), dir}
			if tuned {
				args = append([]string{"--max-pdu-length", pdu}, args...)
			}
			return b.command(rust("dicom-storescu"), args...)
		},
	},
	{
		name:    "dcm4che",
		missing: func(*bench) string { return "its tools are in none of the registries that make installs from" },
	},
}

func onPath(program, target string) func(*bench) string {
	return func(*bench) string {
		if _, err := exec.LookPath(program); err != nil {
			return "it is not installed (" + target + ")"
		}
		return ""
	}
}

// rust is where make installs dicom-rs.
func rust(program string) string { return filepath.Join(".cache", "dicom-rs", "bin", program) }

func (b *bench) pynetdicom(tuned bool, app string, args ...string) *exec.Cmd {
	if tuned {
		args = append([]string{"-pdu", pdu}, args...)
	}
	return b.command(b.python, append([]string{"-m", "pynetdicom", app}, args...)...)
}

// nodelay has DCMTK send small segments at once.
func nodelay(c *exec.Cmd, tuned bool) *exec.Cmd {
	if tuned {
		c.Env = append(os.Environ(), "TCP_NODELAY=1")
	}
	return c
}

// serve is a node that receives, and analyses nothing while it is timed: it
// finds no runtime for its models.
func (b *bench) serve(dir string, port int) (*exec.Cmd, error) {
	path := filepath.Join(dir, "node.toml")
	text := fmt.Sprintf(`[node]
listen = "127.0.0.1:%d"
[storage]
data_dir = %q
stop_receiving_below = "100 MiB"
[[source]]
ae_title = "*"
from = ["127.0.0.0/8"]
[complete]
quiet = "1h"
idle = "2h"
max_age = "3h"
[admin]
listen = "127.0.0.1:0"
[inference]
runtime_library = %q
`, port, filepath.Join(dir, "data"), filepath.Join(dir, "none"))
	return b.command(b.binary, "serve", "--config", path), os.WriteFile(path, []byte(text), 0o600)
}
