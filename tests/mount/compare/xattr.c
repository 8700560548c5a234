/* SPDX-License-Identifier: MIT */
/*
 * xattr.c - extended attributes and access control lists.
 */
#include "compare.h"

#include <linux/capability.h>
#include <sys/xattr.h>

#include "acl.h"

static void values(struct side *side)
{
	static char big[70000];
	char value[100];
	struct moments before;
	int fd;

	make_text(side, "f", "text");
	before = moments_of("f");
	CALL(side, setxattr("f", "user.a", "value", 5, 0));
	show_moved(side, "f", &before);
	CALL(side, getxattr("f", "user.a", value, sizeof(value)));
	say(side, "%.5s", value);
	CALL(side, getxattr("f", "user.a", NULL, 0));
	CALL(side, getxattr("f", "user.a", value, 4));
	CALL(side, getxattr("f", "user.none", value, 10));
	CALL(side, setxattr("f", "user.a", "other", 5, XATTR_CREATE));
	CALL(side, setxattr("f", "user.b", "other", 5, XATTR_REPLACE));
	CALL(side, setxattr("f", "user.a", "longer value", 12, XATTR_REPLACE));
	CALL(side, setxattr("f", "user.b", "new", 3, XATTR_CREATE));
	CALL(side, setxattr("f", "user.b", "new", 3, XATTR_CREATE | XATTR_REPLACE));
	CALL(side, setxattr("f", "user.b", "new", 3, 8));
	CALL(side, setxattr("f", "user.empty", "", 0, 0));
	CALL(side, getxattr("f", "user.empty", value, sizeof(value)));
	CALL(side, setxattr("f", "user.null", NULL, 0, 0));
	CALL(side, setxattr("f", "user.bytes", "\0\xff\n", 3, 0));
	show_xattrs(side, "f");
	CALL(side, listxattr("f", NULL, 0));
	CALL(side, listxattr("f", value, 5));
	CALL(side, removexattr("f", "user.b"));
	CALL(side, removexattr("f", "user.b"));
	fd = CALL_FD(side, open("f", O_RDONLY));
	CALL(side, fsetxattr(fd, "user.f", "by descriptor", 13, 0));
	CALL(side, fgetxattr(fd, "user.f", value, sizeof(value)));
	CALL(side, flistxattr(fd, NULL, 0));
	CALL(side, fremovexattr(fd, "user.a"));
	CALL(side, close(fd));
	/*
	 * The most a file system takes differs, and so does its error; on btrfs it depends on what else there is
	 * in a leaf of 16 KiB.
	 */
	CALL(side, setxattr("f", "user.big", big, 1000, 0));
	CALL(side, setxattr("f", "user.big", big, 3000, 0));
	CALL(side, setxattr("f", "user.big", big, 5000, 0));
	CALL(side, setxattr("f", "user.big", big, 60000, 0));
	CALL(side, setxattr("f", "user.big", big, 66000, 0));
	CALL(side, getxattr("f", "user.big", NULL, 0));
	CALL(side, removexattr("f", "user.big"));
}

static void names(struct side *side)
{
	char name[300] = "user.";

	make_text(side, "f", "text");
	memset(name + 5, 'n', 280);
	name[255] = '\0';
	CALL(side, setxattr("f", name, "x", 1, 0));
	CALL(side, getxattr("f", name, NULL, 0));
	name[255] = 'n';
	name[256] = '\0';
	CALL(side, setxattr("f", name, "x", 1, 0));
	CALL(side, setxattr("f", "user.", "x", 1, 0));
	CALL(side, setxattr("f", "user", "x", 1, 0));
	CALL(side, setxattr("f", "", "x", 1, 0));
	CALL(side, setxattr("f", "nonsense.name", "x", 1, 0));
	CALL(side, getxattr("f", "nonsense.name", NULL, 0));
	CALL(side, setxattr("f", "system.nonsense", "x", 1, 0));
	CALL(side, getxattr("f", "system.nonsense", NULL, 0));
	CALL(side, removexattr("f", "system.nonsense"));
	CALL(side, setxattr("none", "user.a", "x", 1, 0));
	CALL(side, setxattr("f", "trusted.a", "secret", 6, 0));
	CALL(side, getxattr("f", "trusted.a", NULL, 0));
	CALL(side, setxattr("f", "security.a", "label", 5, 0));
	CALL(side, setxattr("f", "user.arsync", "not ours", 8, 0));
	CALL(side, setxattr("f", "user.arsyncx.y", "not ours", 8, 0));
	show_xattrs(side, "f");
}

static void kinds(struct side *side)
{
	CALL(side, mkdir("d", 0755));
	CALL(side, symlink("nowhere", "s"));
	CALL(side, mknod("fifo", S_IFIFO | 0644, 0));
	CALL(side, setxattr("d", "user.a", "x", 1, 0));
	CALL(side, mkdir("sticky", 01777));
	CALL(side, setxattr("sticky", "user.a", "x", 1, 0));
	CALL(side, lsetxattr("s", "user.a", "x", 1, 0));
	CALL(side, lsetxattr("s", "trusted.a", "x", 1, 0));
	CALL(side, lgetxattr("s", "trusted.a", NULL, 0));
	CALL(side, llistxattr("s", NULL, 0));
	CALL(side, lremovexattr("s", "trusted.a"));
	CALL(side, lgetxattr("s", "user.a", NULL, 0));
	CALL(side, setxattr("s", "user.a", "x", 1, 0));
	CALL(side, setxattr("fifo", "user.a", "x", 1, 0));
	CALL(side, getxattr("fifo", "user.a", NULL, 0));
	CALL(side, setxattr("fifo", "trusted.a", "x", 1, 0));
	CALL(side, lremovexattr("fifo", "trusted.a"));
	/* What belongs to the inode goes where its names go. */
	make_text(side, "f", "text");
	CALL(side, setxattr("f", "user.a", "x", 1, 0));
	CALL(side, link("f", "g"));
	CALL(side, rename("f", "h"));
	show_xattrs(side, "g");
	CALL(side, setxattr("h", "user.b", "y", 1, 0));
	show_xattrs(side, "g");
}

/* Capabilities of a program: checked by the kernel when set, gone after a write. */
static void capabilities(struct side *side)
{
	const struct vfs_cap_data data = {
		.magic_etc = VFS_CAP_REVISION_2 | VFS_CAP_FLAGS_EFFECTIVE,
		.data = { { .permitted = 1 << CAP_NET_RAW } },
	};
	int fd;

	make_text(side, "f", "text");
	CALL(side, setxattr("f", XATTR_NAME_CAPS, "nonsense", 8, 0));
	CALL(side, setxattr("f", XATTR_NAME_CAPS, &data, XATTR_CAPS_SZ_2, 0));
	show_xattrs(side, "f");
	CALL(side, chmod("f", 0755));
	show_xattrs(side, "f");
	fd = CALL_FD(side, open("f", O_WRONLY | O_APPEND));
	CALL(side, write(fd, "x", 1));
	CALL(side, close(fd));
	show_xattrs(side, "f");
	CALL(side, setxattr("f", XATTR_NAME_CAPS, &data, XATTR_CAPS_SZ_2, 0));
	CALL(side, chown("f", 1, 1));
	show_xattrs(side, "f");
	CALL(side, setxattr("f", XATTR_NAME_CAPS, &data, XATTR_CAPS_SZ_2, 0));
	CALL(side, truncate("f", 1));
	show_xattrs(side, "f");
	CALL(side, setxattr("f", XATTR_NAME_CAPS, &data, XATTR_CAPS_SZ_2, 0));
	CALL(side, removexattr("f", XATTR_NAME_CAPS));
}

static void access_acls(struct side *side)
{
	const struct acl_spec spec = { .owner = 6, .user = 7, .group = 4, .mask = 6 };
	const struct small_acl mode_0640 = small_acl_of(0640);
	struct acl acl = acl_of(&spec);

	make_text(side, "f", "text");
	CALL(side, getxattr("f", ACCESS, NULL, 0));
	CALL(side, setxattr("f", ACCESS, &acl, sizeof(acl), 0));
	CALL(side, getxattr("f", ACCESS, &acl, sizeof(acl)));
	CALL(side, getxattr("f", ACCESS, &acl, 10));
	show(side, "f");
	show_xattrs(side, "f");
	CALL(side, chmod("f", 0604)); /* sets the mask */
	show(side, "f");
	show_xattrs(side, "f");
	CALL(side, setxattr("f", DEFAULT, &acl, sizeof(acl), 0)); /* not a directory */
	CALL(side, getxattr("f", DEFAULT, NULL, 0));
	CALL(side, setxattr("f", ACCESS, &acl, sizeof(acl) - 1, 0));
	CALL(side, setxattr("f", ACCESS, "nonsense", 8, 0));
	acl.entries[0].e_tag = htole16(ACL_OTHER); /* two of these, no owner */
	CALL(side, setxattr("f", ACCESS, &acl, sizeof(acl), 0));
	CALL(side, setxattr("f", ACCESS, &mode_0640, sizeof(mode_0640), 0));
	show(side, "f");
	show_xattrs(side, "f");
	acl = acl_of(&spec);
	CALL(side, setxattr("f", ACCESS, &acl, sizeof(acl), XATTR_CREATE));
	CALL(side, removexattr("f", ACCESS));
	show(side, "f");
	CALL(side, removexattr("f", ACCESS));
	CALL(side, symlink("f", "s"));
	CALL(side, lsetxattr("s", ACCESS, &acl, sizeof(acl), 0));
	CALL(side, chmod("f", 02755));
	CALL(side, setxattr("f", ACCESS, &acl, sizeof(acl), 0));
	show(side, "f");
	CALL(side, chown("f", USER_UID, USER_GID));
	CALL(side, chmod("f", 02770));
	CALL(side, removexattr("f", ACCESS));
	show(side, "f");
}

static void default_acls(struct side *side)
{
	const struct acl_spec spec = { .owner = 7, .user = 7, .group = 5, .mask = 7 };
	const struct small_acl mode_0640 = small_acl_of(0640);
	struct acl acl = acl_of(&spec);
	int fd;

	CALL(side, mkdir("d", 0755));
	CALL(side, setxattr("d", DEFAULT, &acl, sizeof(acl), 0));
	show_xattrs(side, "d");
	CALL(side, umask(077)); /* does not count below a default ACL */
	fd = CALL_FD(side, open("d/file", O_WRONLY | O_CREAT, 0666));
	CALL(side, close(fd));
	fd = CALL_FD(side, open("d/private", O_WRONLY | O_CREAT, 0600));
	CALL(side, close(fd));
	CALL(side, mkdir("d/dir", 0777));
	CALL(side, mkdir("d/dir/below", 0700));
	CALL(side, mknod("d/fifo", S_IFIFO | 0666, 0));
	CALL(side, symlink("x", "d/link"));
	fd = CALL_FD(side, open("d", O_TMPFILE | O_RDWR, 0666));
	show_fd(side, fd);
	CALL(side, close(fd));
	CALL(side, setxattr("d", DEFAULT, &mode_0640, sizeof(mode_0640), 0));
	fd = CALL_FD(side, open("d/small", O_WRONLY | O_CREAT, 0666));
	CALL(side, close(fd));
	CALL(side, removexattr("d", DEFAULT));
	CALL(side, removexattr("d", DEFAULT));
	fd = CALL_FD(side, open("d/plain", O_WRONLY | O_CREAT, 0666));
	CALL(side, close(fd));
	CALL(side, rename("d/file", "moved"));
	CALL(side, umask(022));
}

const struct call_group groups_xattr[] = {
	{ "xattr_values", values },
	{ "xattr_names", names },
	{ "xattr_kinds", kinds },
	{ "xattr_capabilities", capabilities },
	{ "xattr_access_acls", access_acls },
	{ "xattr_default_acls", default_acls },
	{ NULL, NULL },
};
