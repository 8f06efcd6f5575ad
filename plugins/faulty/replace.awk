# Replaces text in one file of sample-c as a list says:
#
#   awk -v list=mutations.txt -v name=NAME -v file=kernels.c -f replace.awk kernels.c
#
# The lines of the list are NAME | file | text | text in its place; `\|` stands
# for `|`. A text that is not there exactly once is an error: then the list is
# out of date. Prints the file.
function trimmed(text) {
  gsub(/^[ \t]+|[ \t]+$/, "", text)
  gsub(/\001/, "|", text)
  return text
}

BEGIN {
  while ((getline line < list) > 0) {
    if (line ~ /^#/) continue
    gsub(/\\\|/, "\001", line)
    n = split(line, part, "|")
    if (trimmed(part[1]) != name || trimmed(part[2]) != file) continue
    count++
    from[count] = trimmed(part[3])
    to[count] = n > 3 ? trimmed(part[4]) : ""
    seen[count] = 0
  }
}

{
  for (i = 1; i <= count; i++) {
    at = index($0, from[i])
    if (at == 0) continue
    seen[i]++
    $0 = substr($0, 1, at - 1) to[i] substr($0, at + length(from[i]))
    if (index(substr($0, at + length(to[i])), from[i]) > 0) seen[i]++
  }
  print
}

END {
  for (i = 1; i <= count; i++) {
    if (seen[i] != 1) {
      print name ": `" from[i] "` is in " file " " seen[i] " times, not once" > "/dev/stderr"
      exit 1
    }
  }
}
