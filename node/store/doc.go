// Package store keeps instances and results as files, so that what was
// confirmed to a peer survives a power cut.
//
// Files are the truth of the node; every queue and index can be rebuilt from
// them. An instance is written to a temporary file, fsynced, renamed into its
// series' folder, and the folder is fsynced; only then does Commit return.
// Folder fsyncs of concurrent associations are joined: one serves all that
// renamed before it began. The results of a generation are written into a
// temporary folder that is renamed once everything in it is durable, so a
// generation is there completely or not at all.
//
//	data_dir/lock                    held by flock while a node runs
//	        /layout.json             the layout's number and who opened the folder last
//	        /id                      names the folder to nodes that share it
//	        /incoming/               temporary files, emptied at start; one folder for each of several nodes
//	        /series/<study>/<series>/instances/<sop>.dcm
//	                                 conflicts/<sop>/<sha256>.dcm  same UID, other bytes
//	                                 closed-N.json                 the series was complete
//	                                 generation-N/manifest.json    what was found, file by file
//	                                              result.json, *.dcm, *.png
//	                                              receipts/<destination>/<sop>.json
//	                                              receipts-aside/<destination>-K/  of what a person had sent again
//	                                 set-aside-N-K/                a generation moved away for a retry
//	        /asked/<transaction>.json  what destinations were asked to answer for, by nodes that share the folder
//	        /removing/               series that retention is deleting
//	        /removed/<study>_<series>.json  what stays of a deleted series: how it ended, who has its results
//
// Path parts are validated UIDs (PS3.5 9.1), never raw input. Files are 0600
// and folders 0700. A failed fsync is a failed store: the pages may be gone, so
// the file is discarded and the sender keeps its copy.
package store
