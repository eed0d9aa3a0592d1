"""What the report can not show, said on the report itself."""

from __future__ import annotations

from kinlink.report.words import Words

LIMITS = (
    Words(
        "Rapporten bygger på tjenesternes egne logge. En ændring af loggen bagefter opdages; men en tjeneste, der er "
        "overtaget, mens den kører, kan lade være med at skrive sandheden.",
        "The report rests on the services' own logs. A later change of a log shows; but a service taken over while it "
        "runs may not write the truth.",
    ),
    Words(
        "Er der hverken gemte kontrolpunkter eller vidner, kan hele loggen være skrevet om og underskrevet igen, uden "
        "at det kan ses her. Gem derfor kontrolpunktet hver måned.",
        "Without kept checkpoints or witnesses, the whole log may have been rewritten and signed again, and this page "
        "would not show it. So keep the checkpoint every month.",
    ),
    Words(
        "Loggen viser antal, ikke personer. Om en bestemt borger er behandlet, kan den ikke svare på.",
        "The log shows counts, not persons. It cannot tell whether a given citizen was processed.",
    ),
    Words(
        "Formålet med et kald fremgår ikke, kun hvem der kaldte, hvad og hvor mange.",
        "It does not show what a call was for, only who called, what, and how many.",
    ),
    Words(
        "Kopier uden for tjenesterne ses ikke: en kildes egne filer, udskrifter, og tabeller, der er hentet ud.",
        "Copies outside the services are not seen: a source's own files, printouts, tables already read.",
    ),
    Words(
        "At en indehaver har genberegnet alt, er dennes egen erklæring; en tilfældig stikprøve er regnet efter.",
        "That a holder has rekeyed everything is its own statement; a random sample of it was checked.",
    ),
    Words(
        "En tilintetgjort nøgle kan hentes frem af en sikkerhedskopi indtil den dato, der står ved nøglen; og "
        "har nogen "
        "kopieret nøglen, før den blev tilintetgjort, ses det ikke.",
        "A destroyed key can be recovered from a backup until the date beside it; and if somebody copied the key "
        "before it was destroyed, it does not show.",
    ),
    Words(
        "Stikprøven er tilfældig. Den finder det almindelige; det sjældne finder man i afvisninger og udsving.",
        "The sample is random. It finds what is common; the rare is found among refusals and outliers.",
    ),
)
