# SPDX-License-Identifier: MIT
# fish completion for arsync(1)

set -l commands copy jobs wait cancel stats

function __arsync_jobs
	set -l words (commandline -opc)
	set -l mount .
	for word in $words[3..-1]
		if not string match -q -- '-*' $word
			set mount $word
			break
		end
	end
	arsync jobs $mount 2>/dev/null | awk 'NR > 1 { print $1 "\t" $2 }'
end

complete -c arsync -n "not __fish_seen_subcommand_from $commands" -f
complete -c arsync -n "not __fish_seen_subcommand_from $commands" -a copy -d 'Copy files and trees'
complete -c arsync -n "not __fish_seen_subcommand_from $commands" -a jobs -d 'List the copies of a mount'
complete -c arsync -n "not __fish_seen_subcommand_from $commands" -a wait -d 'Wait for copies to end'
complete -c arsync -n "not __fish_seen_subcommand_from $commands" -a cancel -d 'Cancel copies'
complete -c arsync -n "not __fish_seen_subcommand_from $commands" -a stats -d 'What the mount has done'
complete -c arsync -l help -d 'Help'
complete -c arsync -n "__fish_seen_subcommand_from $commands" -l json -d 'As JSON'

complete -c arsync -n "__fish_seen_subcommand_from copy" -s t -l target-directory -x -a '(__fish_complete_directories)' -d 'Copy everything into this'
complete -c arsync -n "__fish_seen_subcommand_from copy" -s T -l no-target-directory -d 'DEST is the copy itself'
complete -c arsync -n "__fish_seen_subcommand_from copy" -l existing -x -a 'fail merge skip update replace' -d 'What becomes of a destination that exists'
complete -c arsync -n "__fish_seen_subcommand_from copy" -s n -l no-clobber -d 'Only what is not there'
complete -c arsync -n "__fish_seen_subcommand_from copy" -s u -l update -d 'Only what is newer'
complete -c arsync -n "__fish_seen_subcommand_from copy" -l on-error -x -a 'stop continue' -d 'What a failure means'
complete -c arsync -n "__fish_seen_subcommand_from copy" -l verify -d 'Read everything again from the disk'
complete -c arsync -n "__fish_seen_subcommand_from copy" -s x -l one-file-system -d 'Leave out what is mounted below'
complete -c arsync -n "__fish_seen_subcommand_from copy" -s v -l verbose -d 'Say what was copied'
complete -c arsync -n "__fish_seen_subcommand_from copy" -s q -l quiet -d 'Show no progress'
complete -c arsync -n "__fish_seen_subcommand_from copy" -l progress -x -a 'auto bar lines none' -d 'How progress is shown'
complete -c arsync -n "__fish_seen_subcommand_from copy" -l dry-run -d 'Only say what would be copied'
complete -c arsync -n "__fish_seen_subcommand_from copy" -s b -l background -d 'Leave the copies to the mount'
complete -c arsync -n "__fish_seen_subcommand_from copy" -l local -d 'Copy in this process'
complete -c arsync -n "__fish_seen_subcommand_from copy" -l workers -x -d 'Copy threads'
complete -c arsync -n "__fish_seen_subcommand_from copy" -l queue_depth -x -d 'Buffers a worker'
complete -c arsync -n "__fish_seen_subcommand_from copy" -l block_size -x -d 'Bytes of one read and write'
complete -c arsync -n "__fish_seen_subcommand_from copy" -l depth -x -a 'auto 0 1 2 3 4 5 6' -d '2^N regions at once'
for option in reflink offload direct
	complete -c arsync -n "__fish_seen_subcommand_from copy" -l $option -x -a 'auto always never'
end
complete -c arsync -n "__fish_seen_subcommand_from copy" -l io -x -a 'auto uring sync' -d 'How to read and write'
complete -c arsync -n "__fish_seen_subcommand_from copy" -l fsync -x -a 'never file tree' -d 'What is on stable storage'
complete -c arsync -n "__fish_seen_subcommand_from jobs" -s w -l watch -d 'Show again every second'
complete -c arsync -n "__fish_seen_subcommand_from jobs" -l all -d 'All that are remembered'
complete -c arsync -n "__fish_seen_subcommand_from wait" -s t -l timeout -x -d 'No longer than this'
complete -c arsync -n "__fish_seen_subcommand_from wait cancel" -x -a '(__arsync_jobs) (__fish_complete_directories)'
complete -c arsync -n "__fish_seen_subcommand_from jobs stats" -x -a '(__fish_complete_directories)'
