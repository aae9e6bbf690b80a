// rondo publish: its options, checked before anything is read or made.
#include "base/cleanup.h"
#include "client/instance.h"
#include "client/publish_private.h"
#include <string.h>

#include "base/banned.h"

static int check_compression(const char *verb, struct publication *p)
{
    static const struct {
        const char *name;
        enum chunk_codec codec;
    } codecs[] = {{"zstd", CHUNK_ZSTD}, {"lz4", CHUNK_LZ4}};

    p->codec = CHUNK_CODEC_DEFAULT;
    if (p->codec_text) {
        size_t i = 0;
        while (i < ARRAY_SIZE(codecs) && strcmp(p->codec_text, codecs[i].name) != 0)
            i++;
        if (i == ARRAY_SIZE(codecs))
            return cli_usage(verb, "--codec takes zstd or lz4, not \"%s\"", p->codec_text);
        p->codec = codecs[i].codec;
    }
    int maximum = chunk_level_maximum(p->codec);
    if (p->level > (uint64_t)maximum)
        return cli_usage(verb, "--level takes 1 to %d with this codec", maximum);
    return 0;
}

// What governs the catalog.
static int check_site(const char *verb, struct publication *p)
{
    if (!p->site)
        return cli_usage(verb, "--to is needed");
    if (p->tag && !text_is_version_name(slice_of(p->tag)))
        return cli_usage(verb, "--tag \"%s\": letters, digits, dot, dash, underscore, plus", p->tag);
    p->over_http = strstr(p->site, "://") != NULL;
    if (p->over_http && (p->site_key_path || p->expires_text || p->mirrors.count > 0))
        return cli_usage(verb, "--site-key, --expires and --mirror are for the catalog, which the server of --to URL "
                               "signs (rondo renew changes it there)");
    if (p->over_http && (p->unsigned_path || p->signed_path))
        return cli_usage(verb, "--unsigned and --signed take --to DIR: over HTTP the publisher's key is needed here");
    if (p->expires_text && !publisher_parse_duration(p->expires_text, &p->expires))
        return cli_usage(verb, "--expires takes a time like 90d or 12h, not \"%s\"", p->expires_text);
    return 0;
}

int publish_check_names(const char *verb, struct publication *p)
{
    const struct {
        const char *name, *value;
    } needed[] = {{"name", p->name}, {"version", p->version}, {"key", p->key_path}, {"to", p->site}};
    for (size_t i = 0; i < ARRAY_SIZE(needed); i++)
        if (!needed[i].value)
            return cli_usage(verb, "--%s is needed", needed[i].name);
    if (!text_is_image_name(slice_of(p->name)))
        return cli_usage(verb, "--name \"%s\": " TEXT_IMAGE_NAME_RULE, p->name);
    if (!text_is_version_name(slice_of(p->version)))
        return cli_usage(verb, "--version \"%s\": letters, digits, dot, dash, underscore, plus", p->version);
    if (strcmp(p->version, "latest") == 0)
        return cli_usage(verb, "--version latest: that is the tag of the newest version");
    if (p->tag && strcmp(p->tag, p->version) == 0)
        return cli_usage(verb, "--tag and --version are the same");
    if (p->memory && p->memory < INSTANCE_MEMORY_MINIMUM)
        return cli_usage(verb, "--memory: a machine needs 64M at least");
    if (p->memory > MANIFEST_MEMORY_MAXIMUM)
        return cli_usage(verb, "--memory takes at most 16T");
    int r = check_site(verb, p);
    return r != 0 ? r : check_compression(verb, p);
}

static int check_options(struct publication *p)
{
    if (!p->files[0])
        return cli_usage("publish", "--disk is needed");
    if (p->cmdline && !p->files[1])
        return cli_usage("publish", "--cmdline is for a --kernel");
    if (p->generalize && !p->files[1])
        return cli_usage("publish", "--generalize puts a word on the command line of a --kernel");
    if (p->files[2] && !p->files[1])
        return cli_usage("publish", "--initrd is for a --kernel");
    if (publish_records_boot(p) && (!p->ready || !*p->ready))
        return cli_usage("publish", "--profile auto needs --ready: the text that its console shows when it is up");
    if (p->timeout && !publish_records_boot(p))
        return cli_usage("publish", "--timeout is how long the boot of --profile auto may take");
    return 0;
}

// With --signed the texts say what is published.
static int check_signed(const struct publication *p)
{
    const char *const texts[] = {p->name,  p->version,  p->files[0],   p->files[1],         p->files[2], p->cmdline,
                                 p->ready, p->profile,  p->title,      p->summary,          p->homepage, p->licence,
                                 p->os,    p->key_path, p->codec_text, p->description_path, p->logo_path};
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
        if (texts[i])
            return cli_usage("publish",
                             "--signed takes --to, --site-key, --unsigned, --tag, --mirror, --expires alone");
    if (p->parents.count || p->ports.count || p->memory || p->level || p->timeout || p->generalize)
        return cli_usage("publish", "--signed takes --to, --site-key, --unsigned, --tag, --mirror, --expires alone");
    return 0;
}

static int check_unsigned(const struct publication *p)
{
    return p->site_key_path || p->tag || p->mirrors.count || p->expires_text
               ? cli_usage("publish", "--site-key, --tag, --mirror and --expires are for the catalog: give them with "
                                      "--signed, when the manifest is signed")
               : 0;
}

int verb_publish(int argc, char **argv)
{
    struct publication p = {.expires = CATALOG_EXPIRES_DEFAULT, .file_fds = {-1, -1, -1}};
    const struct option options[] = {
        {"name", OPTION_TEXT, &p.name},
        {"version", OPTION_TEXT, &p.version},
        {"disk", OPTION_TEXT, &p.files[0]},
        {"kernel", OPTION_TEXT, &p.files[1]},
        {"initrd", OPTION_TEXT, &p.files[2]},
        {"cmdline", OPTION_TEXT, &p.cmdline},
        {"memory", OPTION_SIZE, &p.memory},
        {"ready", OPTION_TEXT, &p.ready},
        {"generalize", OPTION_FLAG, &p.generalize},
        {"parent", OPTION_LIST, &p.parents},
        {"profile", OPTION_TEXT, &p.profile},
        {"timeout", OPTION_NUMBER, &p.timeout},
        {"title", OPTION_TEXT, &p.title},
        {"summary", OPTION_TEXT, &p.summary},
        {"homepage", OPTION_TEXT, &p.homepage},
        {"licence", OPTION_TEXT, &p.licence},
        {"os", OPTION_TEXT, &p.os},
        {"description", OPTION_TEXT, &p.description_path},
        {"logo", OPTION_TEXT, &p.logo_path},
        {"show-port", OPTION_LIST, &p.ports},
        {"key", OPTION_TEXT, &p.key_path},
        {"site-key", OPTION_TEXT, &p.site_key_path},
        {"to", OPTION_TEXT, &p.site},
        {"tag", OPTION_TEXT, &p.tag},
        {"expires", OPTION_TEXT, &p.expires_text},
        {"codec", OPTION_TEXT, &p.codec_text},
        {"level", OPTION_NUMBER, &p.level},
        {"mirror", OPTION_LIST, &p.mirrors},
        {"unsigned", OPTION_TEXT, &p.unsigned_path},
        {"signed", OPTION_TEXT, &p.signed_path},
        {NULL, OPTION_FLAG, NULL},
    };
    unsigned operands;
    int r = cli_parse(argc, argv, options, 0, 0, &operands);
    if (r != 0)
        return cli_parsed(r);
    r = p.signed_path ? check_signed(&p) : publish_check_names("publish", &p);
    if (r == 0)
        r = p.signed_path ? check_site("publish", &p) : check_options(&p);
    if (r == 0 && p.unsigned_path && !p.signed_path)
        r = check_unsigned(&p);
    if (r != 0)
        return r;
    struct error error = {.text = ""};
    if (p.signed_path) {
        cli_cancel_on_signals();
        r = publish_take_signed(&p, &error);
    } else {
        cli_catch_signals();
        r = publish(&p, &error);
    }
    publish_end(&p);
    return cli_end(r, &error);
}
